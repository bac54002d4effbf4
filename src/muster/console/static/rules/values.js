// What a condition compares with: an editor for each kind of value.
"use strict";

(() => {
  const muster = (window.muster ??= {});
  const { element, filled, tree } = muster;
  const MOMENT = /^(\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d{1,3}0*)?)?)(?:Z|\+00:00)$/;
  const itemType = (type) => ({ "list of string": "string", "list of number": "number" })[type] ?? type;
  const PAUSE = 200; // milliseconds without a key before values are looked up
  const fits = { string: "string", number: "number", boolean: "boolean", datetime: "string" };

  // `use`: {known, values, texts}. `spot(control)`: the attributes that name a control, so that focus finds it again.
  // `changed(isShape)`: the content was edited; with `isShape` other controls are needed.
  muster.valueEditor = (content, type, use, spot, changed) => {
    const { texts } = use;
    const shape = tree.shape(content.operator);
    const labelled = (control, label, more) => ({ ...spot(control), "aria-label": label, ...more });

    const choice = (control, label, options, value, onPick) =>
      element("select", labelled(control, label, { value, onchange: (event) => onPick(event.target.value) }),
        ...options.map(([code, name]) => element("option", { value: code, selected: code === value }, name)));

    const number = (control, label, value, onEdit, more = {}) =>
      element("input", labelled(control, label, {
        type: "number", step: "any", dir: "ltr", class: "amount", value: typeof value === "number" ? String(value) : "",
        oninput: ({ target }) => onEdit(target.value === "" ? undefined : Number(target.value)), ...more,
      }));

    // Several editors may offer the values of the same field; each has its own list.
    function text(control, label, value, onEdit) {
      if (/[\r\n]/.test(value)) {
        return element("textarea", labelled(control, label, { rows: 2, dir: "auto", value, oninput: ({ target }) => onEdit(target.value) }));
      }
      const id = `values-${spot(control)["data-node"]}-${control}`;
      const list = element("datalist", { id });
      let pause;
      const offer = (begun) => {
        if (!content.field || content.operator === "matches") return;
        clearTimeout(pause);
        pause = setTimeout(async () => {
          const found = await use.values(content.field, begun);
          if (input.value === begun || !begun) list.replaceChildren(...found.map((each) => element("option", { value: each })));
        }, begun ? PAUSE : 0);
      };
      const input = element("input", labelled(control, label, {
        type: "text", list: id, dir: "auto", autocomplete: "off", spellcheck: "false", value,
        onfocus: () => offer(""), oninput: ({ target }) => { onEdit(target.value); offer(target.value); },
      }));
      return element("span", { class: "with-list" }, input, list);
    }

    function moment(control, label, value, onEdit) {
      const found = MOMENT.exec(value ?? "");
      if (value !== undefined && value !== "" && !found) return text(control, label, value, onEdit);
      const edit = ({ target }) => onEdit(target.value ? `${target.value.length === 16 ? `${target.value}:00` : target.value}Z` : undefined);
      const shown = found ? found[1].replace(/(\.\d{3})0*$/, "$1") : "";
      return element("span", { class: "moment", dir: "ltr" },
        element("input", labelled(control, `${label} (UTC)`, { type: "datetime-local", step: "1", value: shown, oninput: edit })),
        element("span", { class: "unit", "aria-hidden": "true" }, "UTC"));
    }

    // A value that no editor of the type fits, as JSON.
    const raw = (control, label, value, onEdit) =>
      element("input", labelled(control, `${label} (JSON)`, {
        type: "text", dir: "ltr", value: JSON.stringify(value),
        oninput: ({ target }) => { try { onEdit(JSON.parse(target.value)); } catch { onEdit(undefined); } },
      }));

    function literal(control, label, value, onEdit, wanted) {
      if (value !== undefined && typeof value !== fits[wanted]) return raw(control, label, value, onEdit);
      if (wanted === "boolean") {
        const options = [["true", texts.yes], ["false", texts.no]];
        return choice(control, label, options, String(value ?? true), (picked) => onEdit(picked === "true"));
      }
      if (wanted === "number") return number(control, label, value, onEdit);
      return wanted === "datetime" ? moment(control, label, value, onEdit) : text(control, label, value ?? "", onEdit);
    }

    const units = (control, value, onPick) =>
      choice(control, texts.unit, tree.UNITS.map((unit) => [unit, texts.units[unit]]), value, onPick);

    function relative(control, label, value, onEdit) {
      const side = value.offset > 0 ? "after" : "before";
      const edit = (more) => { Object.assign(value, more); onEdit(value); };
      const signed = (amount, where) => (amount ? (where === "after" ? amount : -amount) : 0);
      const sides = [["before", texts.anchors[value.anchor].before], ["after", texts.anchors[value.anchor].after]];
      return element("span", { class: "pieces" },
        number(`${control}-amount`, label, Math.abs(value.offset ?? 0), (amount) =>
          edit({ offset: signed(amount ?? 0, pickedSide()) }), { min: "0" }),
        units(`${control}-unit`, value.unit ?? "days", (unit) => edit({ unit })),
        choice(`${control}-side`, texts.side, sides, side, (picked) => edit({ offset: signed(Math.abs(value.offset ?? 0), picked) })));
      function pickedSide() {
        const found = document.querySelector(`[data-node="${spot(control)["data-node"]}"][data-control="${control}-side"]`);
        return found ? found.value : side;
      }
    }

    const kindOf = (value) => {
      if (value === null) return "null";
      return typeof value === "object" ? (value.anchor ?? (value.field ? "field" : "literal")) : "literal";
    };

    // One value: written out, another field, nothing, or a moment reckoned from now.
    function one(control, label, value, onEdit, kinds) {
      const kind = kindOf(value);
      const options = (kinds.includes(kind) ? kinds : [...kinds, kind]).map((each) => [each, texts.kinds[each]]);
      const made = {
        literal: () => (itemType(type) === "boolean" ? true : itemType(type) === "string" ? "" : undefined),
        field: () => ({ field: Object.keys(use.known().types).find((name) => name !== content.field && use.known().types[name] === type) ?? content.field }),
        null: () => null,
        now: () => ({ anchor: "now", offset: 0, unit: "days" }),
        today: () => ({ anchor: "today", offset: 0, unit: "days" }),
      };
      const pick = options.length < 2 ? null
        : choice(`${control}-kind`, texts.kind, options, kind, (picked) => { onEdit(made[picked]()); changed(true, `${control}-kind`); });
      const editor = {
        literal: () => literal(control, label, value, onEdit, itemType(type)),
        field: () => {
          const fields = use.known().fields.filter((each) => each.type === type || each.name === value.field);
          return choice(control, texts.otherField, fields.map(({ name }) => [name, name]), value.field, (name) => onEdit({ field: name }));
        },
        null: () => null,
        now: () => relative(control, label, value, onEdit),
        today: () => relative(control, label, value, onEdit),
      }[kind]();
      return element("span", { class: "pieces" }, pick, editor);
    }

    function list() {
      const wanted = itemType(type);
      const set = (items) => { content.value = items; };
      if (!Array.isArray(content.value)) return raw("value", texts.value, content.value, (value) => { content.value = value; changed(false); });
      const shown = (item) => (typeof item === fits[wanted] && item !== "" ? String(item) : JSON.stringify(item));
      const entered = (input) => {
        if (input.value.trim() === "") return [];
        const moment = `${input.value}${input.value.length === 16 ? ":00" : ""}Z`;
        const item = wanted === "number" ? Number(input.value) : wanted === "datetime" ? moment : input.value;
        return Number.isNaN(item) || content.value.includes(item) ? [] : [item];
      };
      const take = (input) => {
        set([...content.value, ...entered(input)]);
        changed(true, "value");
      };
      // Who leaves the field with something in it means it; the focus is elsewhere already and stays there.
      const leave = (input) => {
        for (const item of entered(input)) {
          set([...content.value, item]);
          chips.append(chip(item, content.value.length - 1));
        }
        input.value = "";
        changed(false);
      };
      const field = wanted === "string" ? text("value", texts.addValue, "", () => {}) : element("input", labelled("value", texts.addValue, {
        type: wanted === "number" ? "number" : wanted === "datetime" ? "datetime-local" : "text", step: wanted === "number" ? "any" : "1", dir: "ltr",
      }));
      const input = field.matches("input") ? field : field.querySelector("input");
      input.addEventListener("keydown", (event) => {
        if (event.key === "Enter") { event.preventDefault(); if (input.value.trim() !== "") take(input); }
        if (event.key === "Backspace" && input.value === "" && content.value.length) { set(content.value.slice(0, -1)); changed(true, "value"); }
      });
      input.addEventListener("change", () => input.isConnected && input.value !== "" && leave(input));
      input.classList.add("chip-input");
      input.setAttribute("placeholder", texts.addValue);
      const chip = (item, index) =>
        element("li", { class: "chip" }, element("bdi", {}, shown(item)),
          element("button", labelled(`chip-${index}`, filled(texts.removeValue, { value: shown(item) }), {
            type: "button",
            onclick: () => {
              set(content.value.filter((_, at) => at !== index));
              changed(true, content.value.length ? `chip-${Math.min(index, content.value.length - 1)}` : "value");
            },
          }), "×"));
      const chips = element("ul", { "aria-label": texts.values }, ...content.value.map(chip));
      return element("span", { class: "chips" }, chips, field);
    }

    function two() {
      const kinds = type === "datetime" ? ["literal", "now", "today"] : ["literal"];
      const edit = (index) => (value) => { content.value = content.value.map((each, at) => (at === index ? value : each)); changed(false); };
      if (!Array.isArray(content.value) || content.value.length !== 2) return raw("value", texts.value, content.value, (value) => { content.value = value; changed(false); });
      return element("span", { class: "pieces" }, one("low", texts.lowest, content.value[0], edit(0), kinds),
        element("span", { class: "word" }, texts.and), one("high", texts.highest, content.value[1], edit(1), kinds));
    }

    function time() {
      const edit = (more) => { content.value = { ...content.value, ...more }; changed(false); };
      return element("span", { class: "pieces" },
        number("value", texts.amount, content.value?.amount, (amount) => edit({ amount }), { min: "0" }),
        units("unit", content.value?.unit ?? "days", (unit) => edit({ unit })));
    }

    function cohort() {
      const found = use.known().cohorts;
      const known = found.some(({ id }) => id === content.value);
      const options = [["", texts.chooseCohort], ...found.map(({ id, name }) => [id, `${name} (${id})`])];
      if (content.value && !known) options.push([content.value, content.value]);
      return choice("value", texts.cohort, options, content.value, (value) => { content.value = value; changed(false); });
    }

    function single() {
      const kinds = ["literal"];
      if (type === "datetime") kinds.push("now", "today");
      if (tree.ORDERED.includes(content.operator) && type !== "boolean") kinds.push("field");
      return one("value", texts.value, content.value, (value) => { content.value = value; changed(false); }, kinds);
    }

    return { none: () => null, one: single, list, two, time, cohort }[shape]();
  };
})();
