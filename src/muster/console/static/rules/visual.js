// A rule as nested groups: edited with the mouse or with the keyboard alone.
"use strict";

(() => {
  const muster = (window.muster ??= {});
  const { element, filled, tree } = muster;
  const MOST_STEPS = 100;
  const LARGE = 40; // conditions and groups

  // `use`: {known, values, texts}. `onChange()` after every edit; `announce(text)` for those who listen.
  muster.ruleTree = ({ place, use, onChange, announce }) => {
    const { texts } = use;
    let root = tree.open(null);
    let faults = new Map(); // by node, what is wrong
    let dragged = null;
    let isLarge = false;
    const steps = []; // to go back by

    const typeOf = (content) => use.known().types[content.field];

    function focus(id, control) {
      const all = [...place.querySelectorAll(`[data-node="${id}"]`)].filter((each) => !each.disabled);
      const wanted = all.find((each) => each.dataset.control === control) ?? all[0];
      (wanted ?? place.querySelector("button, select"))?.focus();
    }

    // An edit after which other controls are needed. It returns [id, control] for the focus, and what to say.
    function rebuild(edit, isStep = true) {
      if (isStep) remember();
      const [target, said] = edit() ?? [];
      render();
      if (target) focus(...target);
      if (said) announce(said);
      onChange();
    }

    function remember() {
      steps.push(JSON.stringify(tree.close(root)));
      if (steps.length > MOST_STEPS) steps.shift();
      const undo = place.querySelector('[data-control="undo"]');
      if (undo) undo.disabled = false;
    }

    function back() {
      if (!steps.length) return;
      root = tree.open(JSON.parse(steps.pop()));
      render();
      focus(root.id, steps.length ? "undo" : "kind");
      announce(texts.undone);
      onChange();
    }

    const button = (spot, sign, label, onclick, more) =>
      element("button", { type: "button", class: "tool", title: label, "aria-label": label, ...spot, onclick, ...more }, sign);

    function tools(found, spot, name) {
      const { id } = found;
      const step = (by) => () => rebuild(() => {
        const [target, index] = tree.destination(root, id, by);
        tree.move(root, id, target, index);
        const [, parent] = tree.find(root, id);
        const where = { index: parent.children.findIndex((each) => each.id === id) + 1, count: parent.children.length };
        return [[id, by < 0 ? "up" : "down"], filled(texts.moved, { what: name, ...where })];
      });
      const isHeld = tree.find(root, id)[1].kind === "not";
      return element("span", { class: "tools" },
        button(spot("up"), "↑", texts.up, step(-1), { disabled: !tree.destination(root, id, -1) }),
        button(spot("down"), "↓", texts.down, step(1), { disabled: !tree.destination(root, id, 1) }),
        button(spot("copy"), "⧉", texts.copy, () => rebuild(() => [[tree.duplicate(root, id).id, "copy"], filled(texts.copied, { what: name })]), { disabled: isHeld }),
        button(spot("delete"), "✕", texts.remove, () => rebuild(() => {
          const next = tree.remove(root, id);
          return [[next.id, tree.GROUPS.includes(next.kind) ? "kind" : "delete"], filled(texts.removed, { what: name })];
        })));
    }

    function fieldOptions(current) {
      const option = (value, name) => element("option", { value, selected: value === current }, name);
      const parts = new Map();
      for (const { name } of use.known().fields) {
        const part = name.split(".")[0];
        parts.set(part, [...(parts.get(part) ?? []), option(name, name)]);
      }
      const groups = [...parts].map(([part, fields]) => element("optgroup", { label: texts.parts[part] ?? part }, ...fields));
      const unknown = current && current !== "$cohort" && !use.known().types[current] ? [option(current, current)] : [];
      return [option("", texts.chooseField), ...unknown, option("$cohort", texts.membership), ...groups];
    }

    // In a large rule a picker gets its many options only when somebody comes to it.
    function fieldPicker(found, spot) {
      const chosen = () => (found.leaf.operator === "inCohort" ? "$cohort" : found.leaf.field);
      let isFull = !isLarge;
      const fill = ({ target }) => {
        if (isFull) return;
        isFull = true;
        target.replaceChildren(...fieldOptions(chosen()));
      };
      const name = chosen() === "$cohort" ? texts.membership : chosen() || texts.chooseField;
      const options = isFull ? fieldOptions(chosen()) : [element("option", { value: chosen(), selected: true }, name)];
      return element("select", {
        ...spot("field"), class: "field", dir: "ltr", "aria-label": texts.field, value: chosen(),
        onpointerdown: fill, onfocus: fill,
        onchange: ({ target }) => revise(target, () => {
          found.leaf = withField(found.leaf, target.value);
          return [operatorPicker(found, spot), valueOf(found, spot)];
        }),
      }, ...options);
    }

    function withField(content, field) {
      if (field === "$cohort") return { operator: "inCohort", value: "" };
      if (field === "") return { field: "", operator: "" };
      const type = use.known().types[field];
      if (content.operator && type === typeOf(content)) return { ...content, field };
      return tree.withOperator({ field, operator: "", value: undefined }, tree.OPERATORS[type][0], type);
    }

    // An edit of a condition: what stands behind the control that made it is made anew. The control itself stays, so
    // that who types to choose from it can go on.
    function revise(control, edit) {
      remember();
      const made = edit();
      while (control.nextSibling) control.nextSibling.remove();
      control.after(...made.filter(Boolean));
      onChange();
    }

    function operatorPicker(found, spot) {
      const { leaf } = found;
      const type = typeOf(leaf);
      if (!type || leaf.operator === "inCohort") return null;
      const names = type === "datetime" ? { ...texts.operators, ...texts.momentOperators } : texts.operators;
      const meaning = (operator) => (type === "datetime" ? (tree.SAME[operator] ?? operator) : operator);
      const listed = tree.OPERATORS[type].map((each) => (meaning(each) === meaning(leaf.operator) ? leaf.operator : each));
      if (!listed.includes(leaf.operator)) listed.push(leaf.operator);
      return element("select", {
        ...spot("operator"), class: "operator", "aria-label": texts.operator, value: leaf.operator,
        onchange: ({ target }) => revise(target, () => {
          found.leaf = tree.withOperator(found.leaf, target.value, type);
          return [valueOf(found, spot)];
        }),
      }, ...listed.map((each) => element("option", { value: each, selected: each === leaf.operator }, names[meaning(each)] ?? each)));
    }

    // What was read with json-rules-engine's decorators is kept as it is.
    const isForeign = ({ operator, fact }) => Boolean(fact) || String(operator).includes(":");

    function condition(found, spot) {
      if (found.kind === "expression") {
        return element("textarea", {
          ...spot("text"), class: "expression", rows: Math.min(4, found.text.split("\n").length), dir: "ltr", lang: "en", spellcheck: "false",
          "aria-label": texts.expression, value: found.text,
          oninput: ({ target }) => { found.text = target.value; onChange(); },
        });
      }
      if (isForeign(found.leaf)) return element("code", { dir: "ltr", tabindex: "0", ...spot("text") }, JSON.stringify(found.leaf));
      return element("span", { class: "pieces" }, fieldPicker(found, spot), operatorPicker(found, spot), valueOf(found, spot));
    }

    function valueOf(found, spot) {
      const type = typeOf(found.leaf);
      if (!type && found.leaf.operator !== "inCohort") return null;
      const changed = (isShape, control) =>
        isShape ? rebuild(() => [[found.id, control ?? "value-kind"]], false) : onChange();
      return muster.valueEditor(found.leaf, type, use, spot, changed);
    }

    function faultsOf(found) {
      const told = faults.get(found.id) ?? [];
      return element("div", { class: "faults", id: `faults-${found.id}` },
        ...told.map(({ detail, isOurs }) => element("p", { class: "fault", lang: isOurs ? null : "en", dir: isOurs ? null : "auto" }, detail)));
    }

    function row(found, parent, index) {
      const spot = (control) => ({ "data-node": found.id, "data-control": control });
      const isGroup = tree.GROUPS.includes(found.kind);
      const name = filled(isGroup ? texts.groupAt : texts.conditionAt, { index: index + 1, count: parent.children.length });
      const grip = element("span", {
        class: "grip", draggable: "true", "aria-hidden": "true", title: texts.drag,
        ondragstart: (event) => {
          dragged = found.id;
          event.dataTransfer.effectAllowed = "move";
          event.dataTransfer.setData("text/plain", name);
          event.dataTransfer.setDragImage(event.target.closest("li"), 10, 10);
        },
        ondragend: () => { dragged = null; unmark(); },
      }, "⠿");
      const body = isGroup ? group(found, spot, tools(found, spot, name)) : element("div", { class: "condition" }, condition(found, spot), tools(found, spot, name));
      return element("li", { class: `node ${isGroup ? "is-group" : "is-leaf"}`, "data-id": found.id }, grip,
        element("div", { class: "body", role: "group", "aria-label": name, "aria-describedby": `faults-${found.id}` }, body, faultsOf(found)));
    }

    function group(found, spot, its) {
      const kinds = tree.GROUPS.map((kind) => element("option", { value: kind, selected: kind === found.kind }, texts.groups[kind]));
      const add = (control, label, make) => button(spot(control), label, label, () => rebuild(() => {
        const made = make();
        found.children.push(made);
        if (found.children.length > 1) found.isFrame = false;
        const first = made.kind === "leaf" ? "field" : made.kind === "expression" ? "text" : "kind";
        return [[made.id, first]];
      }), { class: "add" });
      const isFull = found.kind === "not" && found.children.length > 0;
      const empty = found.children.length ? null : element("p", { class: "more" }, texts.emptyGroup);
      return element("div", { class: `group ${found.kind}` },
        element("div", { class: "group-head" },
          element("select", {
            ...spot("kind"), "aria-label": texts.groupKind, value: found.kind,
            onchange: ({ target }) => rebuild(() => { tree.regroup(found, target.value); if (found === root) root = framed(root); return [[found.id, "kind"]]; }),
          }, ...kinds), its),
        element("ol", { class: "nodes", "data-id": found.id }, ...found.children.map((child, index) => row(child, found, index))), empty,
        isFull ? null : element("div", { class: "adders" },
          add("add", texts.addCondition, tree.blank),
          add("add-group", texts.addGroup, () => tree.node(found.kind === "any" ? "all" : "any", { children: [tree.blank()] })),
          add("add-text", texts.addText, () => tree.node("expression", { text: "" }))));
    }

    // The root is always a group that takes more: one that became a `not` gets a frame.
    const framed = (found) => (found.kind === "not" ? tree.node("all", { children: [found], isFrame: true }) : found);

    function render() {
      isLarge = [...tree.walk(root)].length > LARGE;
      const spot = (control) => ({ "data-node": root.id, "data-control": control });
      const undo = element("span", { class: "tools" }, button(spot("undo"), "↶", texts.undo, back, { disabled: !steps.length }));
      place.replaceChildren(group(root, spot, undo), element("div", { class: "root-faults" }, faultsOf(root)));
    }

    const unmark = () => place.querySelectorAll(".drop-before, .drop-after, .drop-into").forEach((each) => each.classList.remove("drop-before", "drop-after", "drop-into"));

    // Where what is dragged would come to stand: [parent, index, element, mark].
    function target(event) {
      const list = event.target.closest(".nodes, .group");
      const item = event.target.closest("li.node");
      if (item && Number(item.dataset.id) !== dragged) {
        const [found, parent] = tree.find(root, Number(item.dataset.id));
        const box = item.getBoundingClientRect();
        const isHere = item.querySelector(":scope > .body > .group > .nodes > li") === null;
        if (tree.GROUPS.includes(found.kind) && isHere && event.clientY > box.top + 12 && event.clientY < box.bottom - 12) return [found, 0, item, "drop-into"];
        const isAfter = event.clientY > box.top + box.height / 2;
        const others = parent.children.filter((each) => each.id !== dragged);
        return [parent, others.indexOf(found) + (isAfter ? 1 : 0), item, isAfter ? "drop-after" : "drop-before"];
      }
      if (!item && list) return [root, root.children.length, place, "drop-into"];
      return null;
    }

    // Enter ends a value; it does not send the form.
    place.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && event.target.matches("input")) event.preventDefault();
    });

    place.addEventListener("dragover", (event) => {
      if (dragged === null) return;
      const found = target(event);
      unmark();
      if (!found || tree.isInside(tree.find(root, dragged)[0], found[0].id)) return;
      event.preventDefault();
      found[2].classList.add(found[3]);
    });
    place.addEventListener("drop", (event) => {
      if (dragged === null) return;
      event.preventDefault();
      const [found, id] = [target(event), dragged];
      unmark();
      if (found && !tree.isInside(tree.find(root, id)[0], found[0].id)) {
        rebuild(() => { tree.move(root, id, found[0], found[1]); return [[id, "up"], texts.dropped]; });
      }
    });

    return {
      open(rule) { root = tree.open(rule); steps.length = 0; faults = new Map(); render(); },
      read: () => tree.close(root),
      refresh: render,
      // What is not there yet: how many gaps.
      gaps() {
        faults = new Map([...tree.gaps(root, use.known().types)].map(([id, kind]) => [id, [{ detail: texts.gaps[kind], isOurs: true }]]));
        tell();
        return faults.size;
      },
      // What the server found wrong: {detail, pointer?}.
      show(problems) {
        faults = new Map();
        for (const { detail, pointer } of problems) {
          const { id } = tree.at(root, pointer ?? "");
          faults.set(id, [...(faults.get(id) ?? []), { detail }]);
        }
        tell();
      },
      focus: () => focus(root.id, root.children.length ? "kind" : "add"),
      focusFault() {
        const [id] = faults.keys();
        if (id !== undefined) focus(id, "value");
      },
    };

    function tell() {
      for (const [each] of tree.walk(root)) {
        place.querySelector(`#faults-${each.id}`)?.replaceWith(faultsOf(each));
        place.querySelector(`li[data-id="${each.id}"]`)?.classList.toggle("is-wrong", faults.has(each.id));
      }
    }
  };
})();
