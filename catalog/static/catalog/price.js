// One listener for the whole page, so that price inputs in rows added later work without being set up.
(() => {
  "use strict";

  const showModel = (price) => {
    const model = price.querySelector("[data-price-model]").value;
    for (const part of price.querySelectorAll("[data-price-for]")) {
      part.hidden = !part.dataset.priceFor.split(" ").includes(model);
    }
  };

  const clear = (row) => {
    for (const input of row.querySelectorAll("input")) input.value = "";
  };

  const addTier = (rows) => {
    const row = rows.lastElementChild.cloneNode(true);
    clear(row);
    rows.append(row);
    row.querySelector("input").focus();
  };

  const removeTier = (rows, row) => {
    if (rows.children.length > 1) row.remove();
    else clear(row);
  };

  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-price-model]")) showModel(event.target.closest("[data-price]"));
  });

  // A row that was just added stands open; unfold reads its state after this event.
  document.addEventListener("formset:added", (event) => {
    event.target.closest("[x-data*=openRow]")?.setAttribute("x-data", "{ openRow: true }");
  });

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-price-add], [data-price-remove]");
    if (!button) return;
    const rows = button.closest("[data-price]").querySelector("tbody");
    if (button.matches("[data-price-add]")) addTier(rows);
    else removeTier(rows, button.closest("tr"));
  });
})();
