// What is selected is counted, and stays selected while a search shows other rows: <form data-selection="name"> with
// boxes of this name in #found, and #kept, which holds those that are not shown. Without this file what is shown can be
// selected.
"use strict";

(() => {
  const form = document.querySelector("form[data-selection]");
  if (!form) return;
  const name = form.dataset.selection;
  const kept = form.querySelector("#kept");
  const boxes = () => [...form.querySelectorAll(`input[type="checkbox"][name="${name}"]:enabled`)];

  function keep(value) {
    if ([...kept.children].some((each) => each.value === value)) return;
    const input = document.createElement("input");
    input.type = "hidden";
    input.name = name;
    input.value = value;
    kept.append(input);
  }

  function count() {
    const shown = boxes().filter((box) => box.checked).length;
    const all = shown + kept.children.length;
    const written = (number) => number.toLocaleString(document.documentElement.lang);
    form.querySelectorAll("[data-count]").forEach((place) => (place.textContent = written(all)));
    form.querySelectorAll(".selected-count").forEach((place) => (place.hidden = !all));
    form.querySelectorAll("[data-needs-selection]").forEach((button) => (button.disabled = !all));
    form.querySelectorAll("[data-elsewhere]").forEach((place) => (place.hidden = !kept.children.length));
    form.querySelectorAll("[data-elsewhere-count]").forEach((place) => (place.textContent = written(kept.children.length)));
  }

  // Those that come into view again are boxes again.
  function restore() {
    for (const box of boxes())
      for (const each of [...kept.children])
        if (each.value === box.value) {
          box.checked = true;
          each.remove();
        }
    count();
  }

  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.target?.id === "found") boxes().filter((box) => box.checked).forEach((box) => keep(box.value));
  });
  document.addEventListener("htmx:afterSettle", restore);
  form.addEventListener("change", () => setTimeout(count)); // behind the box that checks them all
  addEventListener("pageshow", count);
  count();
})();
