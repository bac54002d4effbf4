// Making elements, and filling sentences: what the rule editor's other files share.
"use strict";

(() => {
  const muster = (window.muster ??= {});

  // Attributes by name; `on…` are listeners; `value` and `checked` are properties; null, undefined and false are left out.
  muster.element = (tag, attributes = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else if (["value", "checked", "disabled", "textContent"].includes(name)) made[name] = value;
      else made.setAttribute(name, value === true ? "" : value);
    }
    made.append(...children.filter((child) => child !== null && child !== undefined));
    if (tag === "select" && "value" in attributes) made.value = attributes.value;
    return made;
  };

  // "Move %(what)s up" and {what: "…"}
  muster.filled = (text, values) => text.replace(/%\((\w+)\)s/g, (_, name) => String(values[name] ?? ""));
})();
