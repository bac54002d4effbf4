// A rule as a tree that can be edited: what the server calls a condition tree, with an id on each node.
// Nothing here touches the page. What is not edited is written out exactly as it was read.
"use strict";

(() => {
  const muster = (window.muster ??= {});
  const GROUPS = ["all", "any", "not"];
  const UNITS = ["seconds", "minutes", "hours", "days", "weeks"];
  const COMPARES = ["equal", "notEqual", "lessThan", "lessThanInclusive", "greaterThan", "greaterThanInclusive"];
  const EMPTINESS = ["isEmpty", "isNotEmpty"];
  const LISTED = ["in", "notIn"];
  const LASTING = ["withinLast", "moreThanAgo"];
  const ORDERED = [...COMPARES, "before", "after"];
  const TEXTS = ["contains", "doesNotContain", "startsWith", "endsWith", "matches"];

  // What can be asked of a field, by its type, the likeliest first.
  const OPERATORS = {
    string: ["equal", "notEqual", ...LISTED, ...TEXTS, ...EMPTINESS],
    number: [...COMPARES.slice(4), ...COMPARES.slice(2, 4), "between", "equal", "notEqual", ...LISTED, ...EMPTINESS],
    boolean: ["equal", "notEqual", ...EMPTINESS],
    datetime: [
      ...LASTING, "before", "after", "between", "lessThanInclusive", "greaterThanInclusive", "equal", "notEqual",
      ...EMPTINESS,
    ],
    "list of string": ["contains", "doesNotContain", ...EMPTINESS],
    "list of number": ["contains", "doesNotContain", ...EMPTINESS],
  };
  const SAME = { lessThan: "before", greaterThan: "after" }; // of a moment

  let last = 0;
  const node = (kind, more) => ({ id: ++last, kind, children: [], ...more });

  function read(tree) {
    const kind = [...GROUPS, "expression"].find((each) => tree && typeof tree === "object" && each in tree);
    if (kind === "expression") return node(kind, { text: tree.expression });
    if (kind === "not") {
      const inner = read(tree.not);
      const isFolded = inner.leaf?.operator === "isEmpty" && !tree.not.operator;
      return isFolded ? leaf({ field: inner.leaf.field, operator: "isNotEmpty" }) : node(kind, { children: [inner] });
    }
    if (!kind) return ago(node("leaf", { leaf: structuredClone(tree) }));
    return folded(node(kind, { children: tree[kind].map(read) }));
  }

  const isPast = (value) => value?.anchor === "now" && value.offset < 0 && UNITS.includes(value.unit);
  const isPlain = (value) => ["number", "string"].includes(typeof value) || Boolean(value?.anchor);

  // The text of `moreThanAgo` is read as a comparison with a moment.
  function ago(found) {
    const { field, operator, value } = found.leaf;
    if (operator !== "lessThan" || !isPast(value)) return found;
    return leaf({ field, operator: "moreThanAgo", value: { amount: -value.offset, unit: value.unit } });
  }

  // The text of `between`, `withinLast` and `isEmpty` is read as two conditions, one after the other; here they are one
  // again.
  function folded(group) {
    const children = [];
    for (const child of group.children) {
      const one = children.length ? together(group.kind, children.at(-1), child) : null;
      if (one) children[children.length - 1] = one;
      else children.push(child);
    }
    if (children.length === 1 && group.children.length === 2) return children[0];
    group.children = children;
    return group;
  }

  function together(kind, first, second) {
    const [a, b] = [first.leaf, second.leaf];
    if (!a || (b && a.field !== b.field)) return null;
    if (kind === "all" && b && a.operator === "greaterThanInclusive" && b.operator === "lessThanInclusive") {
      const [low, high] = [a.value, b.value];
      if (isPast(low) && high?.anchor === "now" && high.offset === 0) {
        return leaf({ field: a.field, operator: "withinLast", value: { amount: -low.offset, unit: low.unit } });
      }
      return isPlain(low) && isPlain(high) ? leaf({ field: a.field, operator: "between", value: [low, high] }) : null;
    }
    const isNull = a.operator === "equal" && a.value === null;
    const isNone = b ? b.operator === "equal" && b.value === "" : second.text === `${a.field}.is_empty`;
    return kind === "any" && isNull && isNone ? leaf({ field: a.field, operator: "isEmpty" }) : null;
  }

  const leaf = (content) => node("leaf", { leaf: content });

  // The root is a group; a rule that is none stands in one by itself.
  function open(tree) {
    const found = tree ? read(tree) : node("all");
    return ["all", "any"].includes(found.kind) ? found : node("all", { children: [found], isFrame: true });
  }

  function close(root) {
    if (!root.children.length) return null;
    return root.isFrame && root.children.length === 1 ? write(root.children[0]) : write(root);
  }

  function write(found) {
    if (found.kind === "leaf") return structuredClone(found.leaf);
    if (found.kind === "expression") return { expression: found.text };
    if (found.kind === "not") return { not: found.children.length ? write(found.children[0]) : { all: [] } };
    return { [found.kind]: found.children.map(write) };
  }

  // Which node a JSON pointer of the server means: the deepest one on its way.
  function at(root, pointer) {
    let found = root.isFrame && root.children.length === 1 ? root.children[0] : root;
    const steps = pointer.split("/").slice(1);
    while (steps.length) {
      const step = steps.shift();
      if (step !== found.kind || step === "expression") break;
      const next = found.children[step === "not" ? 0 : Number(steps.shift())];
      if (!next) break;
      found = next;
    }
    return found;
  }

  function* walk(found, parent = null) {
    yield [found, parent];
    for (const child of found.children) yield* walk(child, found);
  }

  function find(root, id) {
    for (const [each, parent] of walk(root)) if (each.id === id) return [each, parent];
    return [null, null];
  }

  const isInside = (outer, id) => find(outer, id)[0] !== null;

  function copied(found) {
    const copy = { ...structuredClone(found), id: ++last };
    copy.children = found.children.map(copied);
    return copy;
  }

  function duplicate(root, id) {
    const [found, parent] = find(root, id);
    const copy = copied(found);
    if (parent.kind === "not") return null; // it holds one
    parent.children.splice(parent.children.indexOf(found) + 1, 0, copy);
    return copy;
  }

  function remove(root, id) {
    const [found, parent] = find(root, id);
    const index = parent.children.indexOf(found);
    parent.children.splice(index, 1);
    return parent.children[index] ?? parent.children[index - 1] ?? parent;
  }

  // One step up or down, through everything in order: into a group beside it, and out of its own at the end.
  function destination(root, id, step) {
    const [found, parent] = find(root, id);
    const index = parent.children.indexOf(found);
    const beside = parent.children[index + step];
    const holds = (each) => each && (["all", "any"].includes(each.kind) || (each.kind === "not" && !each.children.length));
    if (holds(beside)) return [beside, step > 0 ? 0 : beside.children.length];
    if (beside) return [parent, index + step];
    let [outer, inner] = [find(root, parent.id)[1], parent];
    while (outer && outer.kind === "not") [inner, outer] = [outer, find(root, outer.id)[1]];
    return outer ? [outer, outer.children.indexOf(inner) + (step > 0 ? 1 : 0)] : null;
  }

  // `index` counts without the node itself.
  function move(root, id, target, index) {
    const [found, parent] = find(root, id);
    if (isInside(found, target.id) || (target.kind === "not" && target.children.length && parent !== target)) return false;
    const from = parent.children.indexOf(found);
    parent.children.splice(from, 1);
    target.children.splice(Math.min(index, target.children.length), 0, found);
    return true;
  }

  function regroup(found, kind) {
    if (kind === "not" && found.children.length > 1) {
      found.children = [node(found.kind, { children: found.children })];
    } else if (found.kind === "not" && kind !== "not" && found.children[0]?.kind === kind) {
      found.children = found.children[0].children;
    }
    found.kind = kind;
    found.isFrame = false;
  }

  const blank = () => leaf({ field: "", operator: "" });

  // What an operator takes: nothing, one value, a list, two values, or a length of time.
  function shape(operator) {
    if (EMPTINESS.includes(operator)) return "none";
    if (LISTED.includes(operator)) return "list";
    if (operator === "between") return "two";
    if (LASTING.includes(operator)) return "time";
    return operator === "inCohort" ? "cohort" : "one";
  }

  const emptyOf = (type) => (type === "boolean" ? true : type === "string" || type === "list of string" ? "" : undefined);

  function withOperator(content, operator, type) {
    const { field, value } = content;
    const [was, is] = [content.operator ? shape(content.operator) : "", shape(operator)];
    if (is === "none") return { field, operator };
    const single = Array.isArray(value) ? value[0] : was === "one" ? value : undefined;
    const values = {
      one: () => (was === "one" && value !== undefined ? value : (single ?? emptyOf(type))),
      list: () => (was === "list" ? (value ?? []) : single === undefined || single === "" || single === null ? [] : [single]),
      two: () => (was === "two" ? value : [single, undefined]),
      time: () => (was === "time" && value ? value : { amount: 30, unit: "days" }),
    };
    return { field, operator, value: values[is]() };
  }

  // What is not there yet, by node: told before the server is asked.
  function gaps(root, types) {
    const found = new Map();
    for (const [each] of walk(root)) {
      if (each.kind === "not" && !each.children.length) found.set(each.id, "emptyNot");
      if (each.kind !== "leaf") continue;
      const { field, operator, value } = each.leaf;
      const kind = operator ? shape(operator) : "one";
      const missing = (one) => one === undefined || (typeof one === "number" && Number.isNaN(one));
      if (operator === "inCohort" ? !value : !field && !each.leaf.fact) {
        found.set(each.id, operator === "inCohort" ? "noCohort" : "noField");
      } else if (kind === "one" && missing(value)) found.set(each.id, "noValue");
      else if (kind === "two" && (!Array.isArray(value) || value.some(missing))) found.set(each.id, "noValue");
      else if (kind === "list" && Array.isArray(value) && !value.length) found.set(each.id, "emptyList");
      else if (kind === "time" && missing(value?.amount)) found.set(each.id, "noValue");
    }
    return found;
  }

  const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

  muster.tree = {
    GROUPS, OPERATORS, ORDERED, SAME, UNITS, at, blank, close, destination, duplicate, find, gaps, isInside,
    leaf, move, node, open, regroup, remove, same, shape, walk, withOperator, write,
  };
})();
