// The screen of a contract: tabs, the deal's form, its document as text, and the preview of what it would bill.
(() => {
  "use strict";

  const WAIT = 500; // milliseconds after the last key before the preview is asked for

  const parsed = (id) => JSON.parse(document.getElementById(id).textContent);

  const start = (screen) => {
    const text = screen.querySelector("[data-deal-document]");
    const unread = screen.querySelector("[data-deal-unread]");
    const state = screen.querySelector("[data-deal-state]");
    const shown = screen.querySelector("[data-deal-preview]");
    const wrongs = screen.querySelector("[data-deal-wrongs]");
    const elsewhere = screen.querySelector("[data-deal-elsewhere]");
    const readOnly = screen.hasAttribute("data-read-only");
    const form = screen.closest("form");
    const panels = [...screen.querySelectorAll("[data-deal-panel]")];
    const tabs = [...screen.querySelectorAll("[data-deal-tab]")];
    let timer = 0;
    let asked = null;

    const read = () => {
      try {
        unread.hidden = true;
        const value = JSON.parse(text.value || "{}");
        if (typeof value === "object" && value && !Array.isArray(value)) return value;
        throw new Error("an object is needed: { … }");
      } catch (error) {
        unread.textContent = `This cannot be read yet: ${error.message}`;
        unread.hidden = false;
        return null;
      }
    };

    const editor = new window.DocumentEditor({
      description: parsed("deal-form"), suggestions: parsed("deal-suggestions"), value: read() ?? {}, readOnly,
      changed: (value) => {
        text.value = JSON.stringify(value, null, 2);
        text.dispatchEvent(new Event("change", { bubbles: true }));
        count();
      },
    });

    const show = (name) => {
      for (const panel of panels) panel.hidden = panel.dataset.dealPanel !== name;
      for (const tab of tabs) tab.setAttribute("aria-selected", String(tab.dataset.dealTab === name));
    };

    const partsOf = (panel) => (panel.dataset.dealParts ?? "").split(" ").filter(Boolean);
    const tabOf = (panel) => tabs.find((tab) => tab.dataset.dealTab === panel.dataset.dealPanel);

    const count = () => {
      for (const panel of panels) {
        const mark = tabOf(panel).querySelector("[data-deal-count]");
        if (!mark || panel === panels[0]) continue; // what a contract always has is not counted
        const number = partsOf(panel).reduce((sum, part) => {
          const value = editor.value[part];
          return sum + (Array.isArray(value) ? value.length : value && Object.keys(value).length ? 1 : 0);
        }, 0);
        mark.hidden = number === 0;
        mark.textContent = number;
      }
    };

    const showFaults = (faults) => {
      const lost = editor.showFaults(faults);
      elsewhere.replaceChildren(...lost.map(({ path, message }) => {
        const line = document.createElement("p");
        line.className = "doc-fault";
        line.textContent = path ? `${path}: ${message}` : message;
        return line;
      }));
      for (const panel of panels) {
        const mark = tabOf(panel).querySelector("[data-deal-wrong]");
        const number = panel.querySelectorAll(".doc-fault, .errorlist > li").length;
        if (!mark) continue;
        mark.hidden = number === 0;
        mark.textContent = number;
        mark.title = `${number} to look at`;
      }
    };

    const preview = async () => {
      asked?.abort();
      asked = new AbortController();
      state.textContent = "working it out …";
      const request = readOnly ? {} : { method: "POST", body: new FormData(form) };
      try {
        const answer = await fetch(screen.dataset.preview, { ...request, signal: asked.signal, headers: { Accept: "application/json" } });
        if (!answer.ok) throw new Error(`${answer.status}`);
        const { html, wrong, faults, note } = await answer.json();
        wrongs.innerHTML = wrong;
        shown.classList.toggle("deal-stale", html === null);
        if (html !== null) shown.innerHTML = html;
        state.textContent = note;
        if (!readOnly && (faults.length || editor.faults.length)) showFaults(faults);
      } catch (error) {
        if (error.name !== "AbortError") state.textContent = "The preview did not answer. Saving works all the same.";
      }
    };

    const later = () => {
      clearTimeout(timer);
      timer = setTimeout(preview, WAIT);
    };

    for (const panel of panels) {
      if (!partsOf(panel).length) continue;
      const host = panel.appendChild(document.createElement("div"));
      host.className = "doc";
      editor.mount(host, editor.description.root, partsOf(panel));
    }
    for (const tab of tabs) tab.addEventListener("click", () => show(tab.dataset.dealTab));
    text.addEventListener("input", () => {
      const value = read();
      if (value) editor.replace(value);
      count();
    });
    form.addEventListener("input", later);
    form.addEventListener("change", later);
    // Fields that search tell only jQuery.
    window.django?.jQuery(form).on("change", later);
    count();
    showFaults(parsed("deal-faults"));
    const wrong = panels.find((panel) => panel.querySelector(".doc-fault:not([hidden]), .errorlist > li"));
    if (wrong) show(wrong.dataset.dealPanel);
    preview();
  };

  for (const screen of document.querySelectorAll("[data-deal]")) start(screen);
})();
