// Keys of the review queue. An element says which press it with data-key="n j"; a list of invoices is walked with j and k.
"use strict";
(() => {
  const rows = () => [...document.querySelectorAll("#result_list tr.data-row")];
  let at = -1;

  function walk(step) {
    const all = rows();
    if (!all.length) return;
    all[at]?.classList.remove("ch-at");
    at = Math.min(Math.max(at + step, 0), all.length - 1);
    all[at].classList.add("ch-at");
    all[at].scrollIntoView({ block: "nearest" });
  }

  const walking = {
    j: () => walk(1),
    n: () => walk(1),
    k: () => walk(-1),
    p: () => walk(-1),
    x: () => rows()[at]?.querySelector("input.action-select")?.click(),
    Enter: () => rows()[at]?.querySelector("th a, td a")?.click(),
  };

  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]");
    if (event.key === "Enter" && event.ctrlKey && typing?.form) {
      event.preventDefault();
      typing.form.requestSubmit(typing.form.querySelector("[data-send]"));
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || event.repeat) return;
    if (typing && event.key !== "Escape") return;
    if (event.key === "Enter" && event.target.closest("a, button")) return;
    const pressed = [...document.querySelectorAll("[data-key]")].find((each) => each.dataset.key.split(" ").includes(event.key));
    if (pressed) {
      event.preventDefault();
      pressed.click();
    } else if (document.getElementById("result_list") && walking[event.key]) {
      event.preventDefault();
      walking[event.key]();
    }
  });
})();
