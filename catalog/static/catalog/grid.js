// The prices of a rate card as a grid: one row per product and group values, one column per day prices change.
(() => {
  "use strict";

  const parsed = (id) => JSON.parse(document.getElementById(id).textContent);
  const make = (tag, given = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(given)) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value === true) element.setAttribute(name, "");
      else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
    }
    element.append(...children.filter((each) => each !== null));
    return element;
  };

  const start = (page) => {
    const find = (name) => page.querySelector(`[data-grid-${name}]`);
    const grid = parsed("grid-document");
    const form = parsed("grid-price-form");
    const readOnly = page.hasAttribute("data-read-only");
    const saved = JSON.stringify(grid.rows.map((row) => row.cells));
    const before = grid.rows.map((row) => JSON.parse(JSON.stringify(row.cells)));
    const planned = new Set();
    let faults = [];

    const isPlain = (price) => price.model === "per_unit" && Object.keys(price).length <= 2;
    const label = (column) => (column === "" ? "since ever" : column.replace("T", " "));
    const isChanged = (place, column) =>
      JSON.stringify(before[place]?.[column]?.price) !== JSON.stringify(grid.rows[place].cells[column]?.price);

    // The price that goes on from an earlier column, if there is one.
    const running = (row, column) => {
      const earlier = grid.columns.filter((each) => each < column && row.cells[each]).pop();
      if (earlier === undefined) return null;
      const { until } = row.cells[earlier];
      return until && until <= column ? null : row.cells[earlier];
    };

    const describe = (price) => {
      const name = form.types[form.types[form.root].variants[price.model]]?.label ?? price.model;
      const numbers = Object.entries(price).filter(([key]) => !["model", "tiers"].includes(key)).map(([, value]) => value);
      const tiers = (price.tiers ?? []).map((tier) => `${tier.up_to ? `to ${tier.up_to}` : "beyond"}: ${tier.unit_amount ?? tier.percent ?? 0}`);
      return [name.split(" (")[0], ...numbers, ...tiers].join(" · ");
    };

    const put = (place, column, price, text) => {
      const row = grid.rows[place];
      if (price === null) delete row.cells[column];
      else row.cells[column] = { ...row.cells[column], price, text: text ?? describe(price) };
      faults = faults.filter((each) => each.row !== place || each.column !== column);
      find("state").textContent = "";
    };

    const edit = (place, column) => {
      const row = grid.rows[place];
      const dialog = find("dialog");
      const current = row.cells[column]?.price ?? running(row, column)?.price ?? { model: "per_unit" };
      const editor = new window.DocumentEditor({
        description: form, value: JSON.parse(JSON.stringify(current)), readOnly, changed: () => {},
      });
      find("title").textContent = `${row.name}${row.group ? `, ${row.group}` : ""}, ${label(column)}`;
      editor.mount(find("price"));
      find("drop").hidden = readOnly || !row.cells[column];
      find("drop").onclick = () => { put(place, column, null); dialog.close(); draw(); };
      find("done").onclick = () => {
        if (!readOnly && JSON.stringify(editor.value) !== JSON.stringify(current)) put(place, column, editor.value);
        else if (!readOnly && !row.cells[column] && editor.value.unit_amount !== undefined) put(place, column, editor.value);
        dialog.close();
        draw();
      };
      dialog.showModal();
    };

    const cell = (row, place, column) => {
      const held = row.cells[column];
      const wrong = faults.filter((each) => each.row === place && each.column === column);
      const goesOn = held ? null : running(row, column);
      const where = `${row.name}${row.group ? `, ${row.group}` : ""}, ${label(column)}`;
      const classes = [
        planned.has(column) ? "grid-new" : "", isChanged(place, column) ? "grid-changed" : "", wrong.length ? "grid-bad" : "",
      ].filter(Boolean).join(" ");
      const more = make("button", {
        type: "button", class: "doc-link", title: `Price of ${where}`, "aria-label": `Price of ${where}`,
        onclick: () => edit(place, column),
      }, "⋯");
      let main;
      if (held && !isPlain(held.price)) {
        main = make("button", { type: "button", class: "grid-long", onclick: () => edit(place, column) }, held.text);
      } else if (readOnly) {
        main = make("span", {}, held ? held.price.unit_amount : "");
      } else {
        main = make("input", {
          type: "text", inputmode: "decimal", autocomplete: "off", class: "doc-input", "aria-label": where,
          value: held?.price.unit_amount ?? "",
          placeholder: goesOn ? (isPlain(goesOn.price) ? goesOn.price.unit_amount : "as before") : "–",
          onchange: (event) => {
            const text = event.target.value.trim();
            put(place, column, text === "" ? null : { model: "per_unit", unit_amount: text }, text);
            draw();
          },
        });
      }
      const notes = [
        held?.commit ? `commit rate: ${held.commit}` : "",
        held?.until && !grid.columns.includes(held.until) ? `until before ${label(held.until)}` : "",
      ].filter(Boolean).map((text) => make("div", { class: "grid-note" }, text));
      return make("td", { class: classes || null }, make("div", { class: "grid-cell" }, main, readOnly && !held ? null : more),
        ...notes, ...wrong.map(({ message }) => make("p", { class: "doc-fault", role: "alert" }, message)));
    };

    const rowHead = (row, place) => {
      if (row.name) {
        return make("th", { scope: "row" }, row.name, make("div", { class: "grid-note" }, row.group || row.product));
      }
      const wrong = faults.filter((each) => each.row === place && each.column === null);
      const options = grid.products.map((each) => make("option", { value: each.value, selected: each.value === row.product }, each.label));
      const product = make("select", { class: "doc-input", "aria-label": "Product", onchange: (event) => {
        row.product = event.target.value;
        row.where = {};
        draw();
      } }, make("option", { value: "" }, "product …"), ...options);
      const keys = grid.products.find((each) => each.value === row.product)?.keys ?? [];
      const values = keys.map((key) => make("label", { class: "grid-note" }, key, make("input", {
        type: "text", class: "doc-input", value: row.where[key] ?? "", onchange: (event) => { row.where[key] = event.target.value.trim(); },
      })));
      return make("th", { scope: "row" }, product, ...values, ...wrong.map(({ message }) => make("p", { class: "doc-fault" }, message)));
    };

    const draw = () => {
      grid.columns.sort();
      const focused = document.activeElement?.getAttribute("aria-label");
      const head = make("tr", {}, make("th", {}, `Prices in ${grid.currency}`), ...grid.columns.map((column) =>
        make("th", { scope: "col", class: planned.has(column) ? "grid-new" : null }, label(column),
          planned.has(column) ? make("div", { class: "grid-note" }, "planned, not saved") : null)));
      const body = grid.rows.map((row, place) =>
        make("tr", {}, rowHead(row, place), ...grid.columns.map((column) => cell(row, place, column))));
      find("table").replaceChildren(make("thead", {}, head), make("tbody", {}, ...body));
      if (focused) find("table").querySelector(`[aria-label="${CSS.escape(focused)}"]`)?.focus();
      const at = find("at");
      const chosen = at.value;
      const days = grid.columns.filter(Boolean);
      at.replaceChildren(...days.map((day) => make("option", { value: day, selected: day === chosen }, label(day))));
      if (!days.includes(chosen) && days.length) at.value = days[days.length - 1];
      find("ask").disabled = days.length === 0;
      const loose = faults.filter((each) => each.row === null);
      find("fault").hidden = loose.length === 0;
      find("fault").textContent = loose.map((each) => each.message).join(" ");
      if (find("save")) find("save").disabled = saved === JSON.stringify(grid.rows.map((row) => row.cells));
    };

    const prices = (cells) => Object.fromEntries(Object.entries(cells ?? {}).map(([column, { price }]) => [column, price]));

    // `seen`: what the row was when it was shown, so that what somebody else saved since is not lost.
    const written = (more = {}) => ({
      rows: grid.rows.map((row, place) => ({ ...row, seen: before[place] }))
        .filter((row) => row.product || Object.keys(row.cells).length)
        .map(({ product, where, cells, seen }) => ({ product, where, cells: prices(cells), seen: prices(seen) })),
      ...more,
    });

    // Once told what somebody else saved in a cell, to save again is to decide.
    const learn = (answered) => answered.filter((each) => "now" in each).forEach(({ row, column, now, now_text: text }) => {
      before[row] ??= {};
      if (now === null) delete before[row][column];
      else before[row][column] = { price: now, text };
    });

    const post = async (url, body) => {
      const token = page.querySelector("[name=csrfmiddlewaretoken]").value;
      const answer = await fetch(url, {
        method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json", "X-CSRFToken": token },
      });
      if (!answer.ok && answer.status !== 422) throw new Error(`The server answered ${answer.status}.`);
      return answer.json();
    };

    const save = async () => {
      find("state").textContent = "saving …";
      try {
        const answer = await post(window.location.pathname, written());
        faults = answer.faults ?? [];
        learn(faults);
        if (!faults.length) {
          window.onbeforeunload = null;
          window.location.assign(answer.url);
          return;
        }
        find("state").textContent = `Not saved: ${faults.length} to look at.`;
      } catch (error) {
        find("state").textContent = `Not saved. ${error.message}`;
      }
      draw();
    };

    const tone = (sign) => (sign > 0 ? "grid-number grid-more" : sign < 0 ? "grid-number grid-less" : "grid-number");

    const ask = async () => {
      const at = find("at").value;
      const rows = make("tbody");
      const head = ["Contract", "Last closed period", "Billed", "Would have been", "Difference"];
      find("effects").replaceChildren(make("table", { class: "grid-table" },
        make("thead", {}, make("tr", {}, ...head.map((text, place) => make("th", { class: place > 1 ? "grid-number" : null }, text)))), rows));
      find("effects").hidden = false;
      let after = 0;
      let changed = 0;
      try {
        do {
          find("progress").textContent = `${rows.children.length} contracts worked out …`;
          const answer = await post(page.dataset.impact, written({ at, after }));
          faults = answer.faults ?? [];
          if (faults.length) {
            find("progress").textContent = "There are prices to look at first.";
            draw();
            return;
          }
          for (const each of answer.rows) {
            changed += each.sign !== 0 ? 1 : 0;
            rows.append(make("tr", {},
              make("td", {}, make("a", { class: "text-link", href: each.url }, each.contract), make("div", { class: "grid-note" }, each.customer)),
              make("td", {}, each.period), make("td", { class: "grid-number" }, each.billed),
              make("td", { class: "grid-number" }, each.would_be),
              make("td", { class: tone(each.sign) }, each.sign > 0 ? `+${each.difference}` : each.difference)));
          }
          after = answer.next;
        } while (after);
        const number = rows.children.length;
        find("progress").textContent = number ? `${number} contracts, ${changed} of them differ.` : "No contract on this card has a closed period.";
      } catch (error) {
        find("progress").textContent = `It could not be worked out. ${error.message}`;
      }
    };

    find("add-column")?.addEventListener("click", () => {
      const day = find("day").value;
      if (!day) { find("day").focus(); find("state").textContent = "Choose the day first."; return; }
      find("state").textContent = "";
      if (!grid.columns.includes(day)) { grid.columns.push(day); planned.add(day); }
      draw();
      find("at").value = day;
      find("table").querySelector(".grid-new input")?.focus();
    });
    find("add-row")?.addEventListener("click", () => {
      grid.rows.push({ product: "", name: "", where: {}, group: "", cells: {} });
      draw();
      find("table").querySelector("tbody tr:last-child select").focus();
    });
    find("save")?.addEventListener("click", save);
    find("ask").addEventListener("click", ask);
    window.onbeforeunload = () => (find("save")?.disabled ?? true ? undefined : "unsaved");
    draw();
  };

  for (const page of document.querySelectorAll("[data-grid]")) start(page);
})();
