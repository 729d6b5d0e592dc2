// Draws a document as a form from the description the server makes of its structs (catalog/document_form.py), and
// keeps the document itself: what nobody edits is never touched, so nothing can get lost.
(() => {
  "use strict";

  const DAY_AND_TIME = /^(\d{4}-\d\d-\d\d)(?:T(\d\d:\d\d(?::\d\d)?))?$/;
  const SIMPLE = new Set(["text", "number", "whole", "flag", "choice", "instant", "duration", "scalar"]);
  const LENGTH = /^P(.+)([DWMY])$/;
  const WHOLE_LENGTH = /^P(\d+)([DWMY])$/;
  const LENGTHS = { D: "days", W: "weeks", M: "months", Y: "years" };
  let counter = 0;

  const make = (tag, given = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(given)) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value === true) element.setAttribute(name, "");
      else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
    }
    element.append(...children.filter((each) => each !== null && each !== undefined));
    return element;
  };

  const isEmpty = (value) =>
    value === undefined || value === null || value === "" ||
    (typeof value === "object" && Object.keys(value).length === 0);

  const lengthText = (text) => {
    const parts = WHOLE_LENGTH.exec(text);
    if (!parts) return text;
    const name = LENGTHS[parts[2]];
    return `${parts[1]} ${parts[1] === "1" ? name.slice(0, -1) : name}`;
  };

  class DocumentEditor {
    // `suggestions`: by name, a list of texts or of {value, label}. `changed` is called after each edit.
    constructor({ description, suggestions = {}, value = {}, readOnly = false, changed = () => {} }) {
      Object.assign(this, { description, suggestions, value, readOnly, changed });
      this.hosts = [];
      this.applying = [];
      this.faults = [];
    }

    // Draw some fields of a type (all, if none are named) of the value into an element.
    mount(host, type = this.description.root, names = null) {
      const draw = () => host.replaceChildren(this.fields(type, this.value, "", names));
      this.hosts.push({ host, draw });
      draw();
    }

    replace(value) {
      this.value = value;
      for (const { draw } of this.hosts) draw();
      this.showFaults(this.faults);
    }

    // --- fields ----------------------------------------------------------------------------------------------------
    fields(typeName, holder, path, names = null) {
      const type = this.description.types[typeName];
      if (type.variants) return this.variants(type, holder, path);
      const block = make("div", { class: "doc-fields" });
      const wanted = type.fields.filter((field) => !names || names.includes(field.name));
      const shown = wanted.map((field) => [field, this.field(field, holder, this.join(path, field.name))]);
      for (const [, element] of shown) block.append(element);
      const apply = () => {
        for (const [field, element] of shown) element.hidden = !this.applies(field, type, holder);
      };
      this.applying.push({ block, apply });
      apply();
      return block;
    }

    applies(field, type, holder) {
      if (this.readOnly && isEmpty(holder[field.name])) return false;
      if (!isEmpty(holder[field.name])) return true;
      if (field.only_known && !this.suggested(field.suggest).length) return false;
      return Object.entries(field.shown_if).every(([name, values]) => {
        const other = type.fields.find((each) => each.name === name);
        return values.includes(String(holder[name] ?? other?.default ?? ""));
      });
    }

    variants(type, holder, path) {
      const tag = type.tag_field;
      if (!holder[tag]) holder[tag] = Object.keys(type.variants)[0];
      const host = make("div", { class: "doc-variants" });
      const draw = () => {
        const options = Object.entries(type.variants).map(([key, name]) => [key, this.description.types[name].label]);
        const choose = (value) => {
          const kept = this.description.types[type.variants[value]].fields.map((field) => field.name);
          for (const name of Object.keys(holder)) if (!kept.includes(name)) delete holder[name];
          holder[tag] = value;
          draw();
          this.edited();
        };
        const current = this.choice(options, holder[tag], choose, `${path} ${tag}`);
        const chosen = make("div", { class: "doc-field doc-tag", "data-path": this.join(path, tag) }, current);
        const known = type.variants[holder[tag]];
        host.replaceChildren(chosen, known ? this.fields(known, holder, path) : "");
      };
      draw();
      return host;
    }

    field(field, holder, path) {
      if (field.kind === "rows") return this.rows(field, holder, path);
      if (field.kind === "part") return this.part(field, holder, path);
      const set = (value) => {
        if (value === "" || value === undefined || value === null) delete holder[field.name];
        else holder[field.name] = value;
        this.edited();
      };
      const control = this.control(field, holder[field.name], set, path, holder);
      const id = control.id || control.querySelector?.("input, select")?.id;
      const wide = SIMPLE.has(field.kind) ? "" : " doc-wide";
      const label = make("label", { for: id, class: field.required ? "doc-required" : null }, field.label);
      return make("div", { class: `doc-field${wide}`, "data-path": path }, label, control, this.help(field.help));
    }

    help(text) {
      return text && !this.readOnly ? make("p", { class: "doc-help" }, text) : null;
    }

    control(field, value, set, path, holder) {
      switch (field.kind) {
        case "flag": return this.flag(field, value ?? field.default ?? false, (checked) => {
          set(checked === (field.default ?? false) && holder[field.name] === undefined ? "" : checked);
        });
        case "scalar": return this.text(value, (text) => set(this.alike(text, value)), field);
        case "choice": return this.choice(field.options, value ?? field.default ?? "", (chosen) => {
          set(chosen === "" || (chosen === field.default && holder[field.name] === undefined) ? "" : chosen);
        });
        case "instant": return this.instant(value, set);
        case "duration": return this.duration(value, set, field);
        case "names": return this.names(value ?? [], set, field.suggest);
        case "values": return this.pairs(value ?? {}, set, (one, put) => this.text(String(one ?? ""), put), "");
        case "lists": return this.pairs(value ?? {}, set, (one, put) => this.names(one ?? [], put, ""), []);
        case "whole": return this.text(value, (text) => set(/^-?\d{1,15}$/.test(text) ? Number(text) : text), field);
        default: return this.text(value, set, field);
      }
    }

    // A number or a yes or no that is typed again is still one.
    alike(text, before) {
      if (typeof before === "number" && /^-?\d{1,15}$/.test(text)) return Number(text);
      return typeof before === "boolean" && /^(true|false)$/.test(text) ? text === "true" : text;
    }

    text(value, set, field = {}) {
      const shown = value === undefined || value === null ? "" : String(value);
      if (this.readOnly) return make("span", { class: "doc-shown" }, shown);
      const numeric = field.kind === "number" || field.kind === "whole";
      return make("input", {
        type: "text", id: `doc-${++counter}`, class: `doc-input${numeric ? " doc-number" : ""}`, value: shown,
        placeholder: field.placeholder || null, inputmode: numeric ? "decimal" : null, autocomplete: "off",
        list: this.listFor(field.suggest), oninput: (event) => set(event.target.value.trim()),
      });
    }

    flag(field, value, set) {
      if (this.readOnly) return make("span", { class: "doc-shown" }, value ? "yes" : "no");
      return make("input", {
        type: "checkbox", id: `doc-${++counter}`, class: "doc-flag", checked: value === true,
        onchange: (event) => set(event.target.checked),
      });
    }

    choice(options, value, set, name = "") {
      const known = options.some(([key]) => key === value) ? options : [...options, [value, String(value)]];
      if (this.readOnly) return make("span", { class: "doc-shown" }, known.find(([key]) => key === value)[1]);
      return make("select",
        { id: `doc-${++counter}`, class: "doc-input", "aria-label": name || null, onchange: (e) => set(e.target.value) },
        ...known.map(([key, label]) => make("option", { value: key, selected: key === value }, label)));
    }

    instant(value, set) {
      const parts = DAY_AND_TIME.exec(value ?? "");
      if (this.readOnly) return make("span", { class: "doc-shown" }, (value ?? "").replace("T", " "));
      if (value && !parts) return this.text(value, set);
      const day = make("input", { type: "date", id: `doc-${++counter}`, class: "doc-input", value: parts?.[1] ?? "" });
      const time = make("input", {
        type: "time", class: "doc-input doc-time", value: parts?.[2] ?? "", title: "Time of day; empty: midnight",
        "aria-label": "Time of day; empty: midnight", step: parts?.[2]?.length > 5 ? "1" : null, hidden: !parts?.[2],
      });
      const reveal = make("button", {
        type: "button", class: "doc-link", title: "Give a time of day", hidden: Boolean(parts?.[2]),
        onclick: () => { time.hidden = false; reveal.hidden = true; time.focus(); },
      }, "+ time");
      const put = () => set(day.value && time.value ? `${day.value}T${time.value}` : day.value);
      day.addEventListener("input", put);
      time.addEventListener("input", put);
      return make("div", { class: "doc-instant" }, day, time, reveal);
    }

    // A number of days, weeks, months or years; any other duration is written out, as in P1Y6M.
    duration(value, set, field) {
      if (this.readOnly) return make("span", { class: "doc-shown" }, `${lengthText(value ?? "")} ${field.after}`);
      const parts = LENGTH.exec(value ?? "");
      const simple = !value || (parts && !/[A-Z]/.test(parts[1]));
      const unit = make("select", { class: "doc-input", "aria-label": `${field.label}: unit`, onchange: () => put(true) },
        ...Object.entries({ ...LENGTHS, "": "as P1Y6M" }).map(([key, name]) =>
          make("option", { value: key, selected: simple ? key === (parts?.[2] ?? "M") : key === "" }, name)));
      const number = make("input", {
        type: "text", id: `doc-${++counter}`, class: "doc-input doc-number", autocomplete: "off",
        value: simple ? parts?.[1] ?? "" : value, oninput: () => put(false),
      });
      const put = (changed) => {
        const text = number.value.trim();
        if (changed && !unit.value && /^\d+$/.test(text)) number.value = `P${text}M`;
        if (changed && unit.value) number.value = /\d+/.exec(text)?.[0] ?? "";
        const written = number.value.trim();
        set(written && unit.value ? `P${written}${unit.value}` : written);
      };
      return make("div", { class: "doc-duration" }, number, unit, field.after ? make("span", { class: "doc-help" }, field.after) : null);
    }

    names(value, set, suggest) {
      if (this.readOnly) return make("span", { class: "doc-shown" }, value.join(", "));
      const current = [...value];
      const host = make("div", { class: "doc-names" });
      const draw = (focus) => {
        const chips = current.map((name, place) => make("span", { class: "doc-chip" }, name, make("button", {
          type: "button", "aria-label": `Remove ${name}`, title: "Remove",
          onclick: () => { current.splice(place, 1); store(); },
        }, "✕")));
        const input = make("input", {
          type: "text", class: "doc-input", id: `doc-${++counter}`, list: this.listFor(suggest), autocomplete: "off",
          placeholder: "add …", onchange: (event) => add(event.target.value),
          oninput: (event) => { if (this.isSuggested(suggest, event)) add(event.target.value); },
          onkeydown: (event) => {
            if (event.key === "Enter") { event.preventDefault(); add(event.target.value); }
          },
        });
        host.replaceChildren(...chips, input);
        if (focus) input.focus();
      };
      const store = () => { draw(true); set(current.length ? [...current] : ""); };
      const add = (text) => {
        const name = text.trim();
        if (name && !current.includes(name)) { current.push(name); store(); }
      };
      draw(false);
      return host;
    }

    // Chosen from the list, not typed: typing gives an inputType.
    isSuggested(suggest, event) {
      const chosen = !event.inputType || event.inputType === "insertReplacementText";
      return chosen && this.suggested(suggest).some((each) => (each.value ?? each) === event.target.value);
    }

    pairs(value, set, control, empty) {
      if (this.readOnly) {
        const text = Object.entries(value).map(([key, each]) => `${key}: ${Array.isArray(each) ? each.join(", ") : each}`);
        return make("span", { class: "doc-shown" }, text.join("; "));
      }
      const rows = Object.entries(value);
      const host = make("div", { class: "doc-pairs" });
      const store = () => {
        const named = rows.filter(([key]) => key !== "");
        set(named.length ? Object.fromEntries(named) : "");
      };
      const draw = () => {
        host.replaceChildren(...rows.map((row, place) => make("div", { class: "doc-pair" },
          this.text(row[0], (key) => { row[0] = key; store(); }, { suggest: "group_keys", placeholder: "group key" }),
          make("span", {}, "="),
          control(row[1], (one) => { row[1] = one === "" && Array.isArray(empty) ? [] : one; store(); }),
          this.remover("Remove this value", () => { rows.splice(place, 1); draw(); store(); }))),
        make("button", { type: "button", class: "doc-link", onclick: () => { rows.push(["", empty]); draw(); } },
          "+ value"));
      };
      draw();
      return host;
    }

    // --- parts and rows --------------------------------------------------------------------------------------------
    part(field, holder, path) {
      const host = make("div", { class: "doc-part doc-wide", "data-path": path });
      const toggle = (on) => {
        if (on) holder[field.name] = {};
        else delete holder[field.name];
        draw();
        this.edited();
      };
      const draw = () => {
        const there = !isEmpty(holder[field.name]) || (holder[field.name] && !field.optional);
        const open = there || (!field.optional && (field.required || host.dataset.open)) || Boolean(holder[field.name]);
        const head = make("div", { class: "doc-part-head" }, make("strong", {}, field.label), this.help(field.help));
        if (!open) {
          const opened = () => { host.dataset.open = "1"; if (field.optional || !holder[field.name]) toggle(true); };
          const text = field.optional ? `+ ${field.label}` : `${field.label}: ${field.unsaid}`;
          host.replaceChildren(this.readOnly ? "" : make("button", {
            type: "button", class: "doc-link", onclick: opened, title: field.help,
          }, field.optional ? text : `${text} – ${field.unsaid === "everything" ? "narrow it down" : "change it"}`));
          return;
        }
        if (!holder[field.name]) holder[field.name] = {};
        if (!this.readOnly && !field.required) {
          head.append(this.remover(`Remove: ${field.label}`, () => { delete host.dataset.open; toggle(false); }));
        }
        host.replaceChildren(head, this.fields(field.type, holder[field.name], path));
      };
      draw();
      return host;
    }

    rows(field, holder, path) {
      const type = this.description.types[field.type];
      const top = !path.includes(".");
      const host = make("section", { class: `doc-rows doc-wide${top ? " doc-top" : ""}`, "data-path": path });
      const title = type.label ?? field.label.replace(/s$/, "");
      const list = () => holder[field.name] ?? [];
      const add = () => {
        holder[field.name] = [...list(), {}];
        draw(list().length - 1);
        this.edited();
      };
      const remove = (place) => {
        holder[field.name].splice(place, 1);
        if (!holder[field.name].length) delete holder[field.name];
        draw();
        this.edited();
      };
      const draw = (focused = -1) => {
        const head = make("div", { class: "doc-rows-head" }, make("h3", {}, field.label), this.help(field.help));
        const drawn = list().map((row, place) => {
          const at = `${path}[${place}]`;
          const inner = this.fields(field.type, row, at);
          const drop = this.readOnly ? null : this.remover(`Remove this ${title.toLowerCase()}`, () => remove(place));
          if (!top) return make("div", { class: "doc-line", "data-path": at }, inner, drop);
          const name = make("span", { class: "doc-name" }, this.summary(field, row));
          inner.addEventListener("input", () => { name.textContent = this.summary(field, row); });
          return make("details", { class: "doc-row", "data-path": at, open: list().length < 6 || place === focused },
            make("summary", {}, name, drop), inner);
        });
        const adder = this.readOnly ? null : make("button", { type: "button", class: "doc-button", onclick: add },
          this.adding(this.singular(field).toLowerCase()));
        host.replaceChildren(head, ...drawn, adder ?? "");
        if (focused >= 0) drawn[focused]?.querySelector("input, select")?.focus();
      };
      draw();
      return host;
    }

    adding(noun) {
      return `Add ${/^[aeio]/.test(noun) ? "an" : "a"} ${noun}`;
    }

    singular(field) {
      const type = this.description.types[field.type];
      const label = type.variants ? field.label.split(" ").pop() : type.label ?? field.label;
      return type.variants ? label.replace(/s$/, "") : label;
    }

    summary(field, row) {
      const type = this.description.types[field.type];
      const kind = type.variants?.[row[type.tag_field]];
      const words = [kind ? this.description.types[kind].label : this.singular(field)];
      const named = row.name || row.key || row.feature || [...(row.scope?.products ?? []), ...(row.scope?.tags ?? [])].join(", ");
      if (named) words.push(named);
      const number = row.multiplier ?? row.amount ?? row.quantity ?? row.access?.[0]?.amount;
      if (number !== undefined) words.push(row.multiplier === undefined ? String(number) : `× ${number}`);
      if (row.percent !== undefined) words.push(`${row.percent}%`);
      const start = row.starting_at ?? row.at ?? row.access?.[0]?.starting_at;
      if (start?.startsWith("P")) words.push(/^P0[DWMY]$/.test(start) ? "from the start" : `from ${lengthText(start)} on`);
      else if (start) words.push(`from ${start.slice(0, 10)}`);
      return words.join(" · ");
    }

    remover(title, onclick) {
      return make("button", {
        type: "button", class: "doc-remove", title, "aria-label": title,
        onclick: (event) => { event.preventDefault(); onclick(); },
      }, "✕");
    }

    // --- suggestions and faults ------------------------------------------------------------------------------------
    suggested(name) {
      const own = this.description.own_terms?.[name];
      if (!own) return this.suggestions[name] ?? [];
      const keys = own.flatMap((part) => this.value[part] ?? []).map((each) => each.key).filter(Boolean);
      return [...keys, ...(this.suggestions[name] ?? [])];
    }

    listFor(name) {
      if (!name) return null;
      const id = `doc-known-${name}`;
      const options = this.suggested(name).map((each) => make("option", { value: each.value ?? each }, each.label ?? ""));
      const list = document.getElementById(id) ?? document.body.appendChild(make("datalist", { id }));
      list.replaceChildren(...options);
      return id;
    }

    edited() {
      this.applying = this.applying.filter(({ block }) => block.isConnected);
      for (const { apply } of this.applying) apply();
      for (const name of Object.keys(this.description.own_terms ?? {})) {
        if (document.getElementById(`doc-known-${name}`)) this.listFor(name);
      }
      this.changed(this.value);
    }

    join(path, name) {
      return path ? `${path}.${name}` : name;
    }

    // Each fault stands at its field, or at the nearest part around it; those without a place are returned.
    showFaults(faults) {
      this.faults = faults;
      for (const { host } of this.hosts) {
        for (const old of host.querySelectorAll(".doc-fault")) old.remove();
        for (const old of host.querySelectorAll(".doc-wrong")) old.classList.remove("doc-wrong");
      }
      return faults.filter((fault) => !this.showFault(fault));
    }

    showFault({ path, message }) {
      for (let place = path; place; place = place.replace(/(\.[^.[]*|\[\d+\]|^[^.[]*)$/, "")) {
        for (const { host } of this.hosts) {
          const found = host.querySelector(`[data-path="${CSS.escape(place)}"]`);
          if (!found) continue;
          const text = make("p", { class: "doc-fault", role: "alert" }, message);
          found.classList.add("doc-wrong");
          found.hidden = false;
          if (found.matches("details")) found.querySelector("summary").after(text);
          else found.append(text);
          for (let around = found; around; around = around.parentElement.closest("details")) {
            if (around.matches("details")) around.open = true;
          }
          return true;
        }
      }
      return false;
    }
  }

  window.DocumentEditor = DocumentEditor;
})();
