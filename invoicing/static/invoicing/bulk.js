// Posts the form of a bulk step again and again, and shows how far it is. Without this script its button does one step.
"use strict";
(() => {
  const form = document.getElementById("bulk-form");
  const button = form.querySelector("button");
  let running = false;

  async function goOn() {
    if (running) return;
    running = true;
    button.disabled = true;
    try {
      for (;;) {
        const answer = await fetch(form.action, { method: "POST", body: new FormData(form), headers: { Accept: "application/json" } });
        if (!answer.ok) throw new Error(`The server answered ${answer.status}.`);
        const told = await answer.json();
        document.getElementById("bulk-shown").innerHTML = told.shown;
        if (told.done) {
          form.remove();
          document.getElementById("bulk-note").remove();
          return;
        }
      }
    } catch (error) {
      document.getElementById("bulk-note").textContent = `It stopped: ${error.message} Nothing is lost; go on when you like.`;
      button.disabled = false;
    } finally {
      running = false;
    }
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    goOn();
  });
  goOn();
})();
