// What the pages do beside htmx: live parts, dialogs, notices. Without this file everything still works by plain forms
// and links.
"use strict";

(() => {
  const streams = new Map(); // an element with data-live, and its EventSource

  // A live part: <div data-live="/…/live" hx-get="…" hx-trigger="changed" …>. The stream says that there is something
  // new; htmx asks for the page and puts in what changed. A page that nobody sees holds no connection.
  function follow(part) {
    if (streams.has(part) || document.hidden) return;
    const seen = document.getElementById("seen");
    const address = new URL(part.dataset.live, location.href);
    if (seen) address.searchParams.set("seen", seen.value);
    const stream = new EventSource(address);
    streams.set(part, stream);
    stream.addEventListener("changed", () => htmx.trigger(part, "changed"));
    stream.addEventListener("error", () => {
      if (stream.readyState !== EventSource.CLOSED) return; // it comes back by itself
      streams.delete(part);
      htmx.trigger(part, "changed"); // where the session has ended, the answer leads to sign in
      setTimeout(() => followAll(), 5000);
    });
  }

  function followAll() {
    for (const [part, stream] of streams) {
      if (document.hidden || !part.isConnected) {
        stream.close();
        streams.delete(part);
      }
    }
    document.querySelectorAll("[data-live]").forEach(follow);
  }

  document.addEventListener("visibilitychange", followAll);
  document.addEventListener("htmx:load", followAll);
  addEventListener("pagehide", () => streams.forEach((stream) => stream.close()));

  // A list that has grown by scrolling is asked for as far as it has grown.
  document.addEventListener("htmx:configRequest", (event) => {
    const rows = document.querySelectorAll("[data-row]").length;
    if (event.detail.elt.dataset.live && rows) event.detail.parameters.rows = Math.min(rows, 1000);
  });

  // Notices: an error that htmx met is said where notices stand.
  function say(html) {
    const place = document.getElementById("notices");
    if (place) place.innerHTML = html;
  }

  document.addEventListener("htmx:responseError", (event) => {
    const answer = event.detail.xhr;
    const isPiece = (answer.getResponseHeader("Content-Type") || "").startsWith("text/html");
    if (!event.detail.elt.dataset.live) say(isPiece ? answer.responseText : document.getElementById("no-answer").innerHTML);
  });
  document.addEventListener("htmx:sendError", (event) => {
    if (!event.detail.elt.dataset.live) say(document.getElementById("no-answer").innerHTML);
  });

  // Dialogs: <button commandfor="id" command="show-modal">, for browsers that do not know these attributes yet.
  const knowsCommands = "command" in HTMLButtonElement.prototype;
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("button[commandfor]");
    if (button && !knowsCommands) {
      const dialog = document.getElementById(button.getAttribute("commandfor"));
      if (button.getAttribute("command") === "close") dialog.close();
      else dialog.showModal();
    }
    if (event.target instanceof HTMLDialogElement) event.target.close(); // a click beside it
    document.querySelectorAll("details.menu[open]").forEach((menu) => {
      if (!menu.contains(event.target)) menu.open = false;
    });
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    document.querySelectorAll("details.menu[open]").forEach((menu) => {
      menu.open = false;
      menu.querySelector("summary").focus();
    });
  });

  // A form whose choice is the whole question: <form data-submits>. Its button is for who has no scripts.
  document.addEventListener("change", (event) => event.target.closest?.("form[data-submits]")?.requestSubmit());

  // Boxes with one that checks them all: <input type="checkbox" data-all="name"> in the same form.
  function sumUp(form) {
    form?.querySelectorAll("[data-all]").forEach((all) => {
      const boxes = [...form.elements].filter((box) => box.name === all.dataset.all && box.type === "checkbox" && !box.disabled);
      const checked = boxes.filter((box) => box.checked).length;
      all.checked = checked > 0 && checked === boxes.length;
      all.indeterminate = checked > 0 && checked < boxes.length;
    });
  }

  document.addEventListener("change", (event) => {
    const box = event.target;
    if (box.dataset?.all)
      for (const each of box.form.elements)
        if (each.name === box.dataset.all && each.type === "checkbox" && !each.disabled) each.checked = box.checked;
    sumUp(box.form);
  });
  document.addEventListener("htmx:load", () => document.querySelectorAll("form:has([data-all])").forEach(sumUp));

  // <button data-copy="id">: the text of that element to the clipboard, where the browser lets us.
  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("[data-copy]");
    if (!button) return;
    const place = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(place.textContent);
      button.setAttribute("aria-pressed", "true");
    } catch {
      getSelection().selectAllChildren(place); // to be copied by hand
    }
  });

  // A form that is on its way is not sent again by a second click.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post" || event.defaultPrevented) return;
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
  });
  addEventListener("pageshow", () => document.querySelectorAll("[data-sent]").forEach((form) => delete form.dataset.sent));

  // <form data-guard>: the browser asks before somebody leaves it with something in it that is not sent.
  const written = (form) => new URLSearchParams(new FormData(form)).toString();
  const guarded = [...document.querySelectorAll("form[data-guard]")].map((form) => [form, written(form)]);
  addEventListener("beforeunload", (event) => {
    if (guarded.some(([form, at]) => !form.dataset.sent && written(form) !== at)) event.preventDefault();
  });

  // On a narrow screen the sections scroll: the present one is to be seen.
  document.querySelector(".sections [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });

  document.documentElement.classList.add("scripted");
  if (document.readyState !== "loading") followAll();
  else document.addEventListener("DOMContentLoaded", followAll);
})();
