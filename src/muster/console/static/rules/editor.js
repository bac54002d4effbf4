// The rule editor: one rule, as text or visually, looked at by the server while it is written.
"use strict";

(() => {
  const muster = window.muster;
  const { element, tree } = muster;
  const PAUSE = 300; // milliseconds without a key before the server is asked

  class Unanswered extends Error {}

  // What is not waited for any more needs no word; what nobody answered does; everything else is our own mistake.
  function excused(error, say) {
    if (error instanceof Unanswered) say(error.message);
    else if (error.name !== "AbortError") throw error;
  }

  function editor(place) {
    const { textarea, form } = { textarea: place.querySelector("textarea"), form: place.closest("form") };
    const texts = JSON.parse(place.dataset.texts);
    const stored = place.dataset.tree ? { text: textarea.value, tree: JSON.parse(place.dataset.tree), isBuilt: false } : null;
    const key = crypto.randomUUID ? crypto.randomUUID() : String(Math.random()).slice(2);
    const project = () => form.elements.project_id?.value ?? "";
    const part = (name) => place.querySelector(`[data-part="${name}"]`);
    const [problemList, outcome, count, spoken] = ["problems", "outcome", "count", "spoken"].map(part);

    let vocabulary = { fields: [], functions: [], cohorts: [], types: {} };
    let mode = "text";
    let anchor = stored; // a text and a tree that say the same
    let timer, asking, asked = 0;
    const remembered = new Map(); // values of fields

    const known = () => vocabulary;
    const announce = (said) => { spoken.textContent = said; };

    async function ask(address, values, signal) {
      const body = values && new URLSearchParams({ ...values, project_id: project(), form_token: form.elements.form_token.value });
      let answer;
      try {
        answer = await fetch(address, { method: body ? "POST" : "GET", body, signal, headers: { "HX-Request": "true" } });
      } catch (error) {
        throw error.name === "AbortError" ? error : new Unanswered(texts.unreachable);
      }
      // Leaving for the sign-in page would lose what was written.
      if (!answer.ok) throw new Unanswered(answer.status === 401 ? texts.signedOut : texts.unreachable);
      return answer;
    }

    async function values(field, begun) {
      const query = new URLSearchParams({ field, q: begun, project_id: project() });
      const name = query.toString();
      if (!remembered.has(name)) {
        const found = ask(`${place.dataset.values}?${query}`).then((answer) => answer.json()).then(({ items }) => items);
        remembered.set(name, found.catch(() => { remembered.delete(name); return []; }));
      }
      return remembered.get(name);
    }

    async function learn() {
      const answer = await ask(`${place.dataset.vocabulary}?${new URLSearchParams({ project_id: project() })}`);
      vocabulary = await answer.json();
      vocabulary.types = Object.fromEntries(vocabulary.fields.map(({ name, type }) => [name, type]));
      remembered.clear();
      text.refresh();
    }

    const text = muster.ruleText({
      place: part("text"), text: textarea.value, label: texts.rule, describedBy: problemList.id, hint: textarea.placeholder, known, values, texts,
      onChange: edited,
    });
    const visual = muster.ruleTree({ place: part("visual"), use: { known, values, texts }, onChange: edited, announce });

    // What is sent: a rule that was built visually as its tree, so that it is found again as it was built.
    function current() {
      if (!place.dataset.ready) return textarea.value;
      if (mode === "visual") {
        const built = visual.read();
        if (built === null) return "";
        return anchor && tree.same(built, anchor.tree) && !anchor.isBuilt ? anchor.text : JSON.stringify(built);
      }
      const written = text.get();
      return anchor?.isBuilt && written === anchor.text ? JSON.stringify(anchor.tree) : written;
    }

    // Whatever was asked before is not waited for any more, and what it answers is not shown.
    function supersede() {
      clearTimeout(timer);
      asking?.abort();
      asking = new AbortController();
      return { mine: ++asked, signal: asking.signal };
    }

    function edited() {
      textarea.value = current();
      const { mine, signal } = supersede();
      waiting(texts.counting);
      timer = setTimeout(() => look(mine, signal), PAUSE);
    }

    function waiting(said) {
      count.textContent = said;
      outcome.setAttribute("aria-busy", "true");
    }

    function nothing(said) {
      count.textContent = said;
      outcome.replaceChildren();
      outcome.removeAttribute("aria-busy");
    }

    async function look(mine, signal) {
      const rule = current();
      try {
        if (rule.trim() === "") {
          tell([]);
          return nothing(texts.empty);
        }
        if (mode === "visual" && visual.gaps()) {
          tell([]);
          return nothing(texts.incomplete);
        }
        const found = await (await ask(place.dataset.check, { rule }, signal)).json();
        if (mine !== asked) return;
        tell(found.errors.map((each) => ({ ...each, severity: "error" })), found.warnings);
        if (!found.valid) {
          announce(texts.wrong);
          return nothing(texts.wrong);
        }
        const preview = await (await ask(place.dataset.preview, { rule, key }, signal)).text();
        if (mine !== asked) return;
        outcome.innerHTML = preview; // the server escapes what is in it
        outcome.removeAttribute("aria-busy");
        const said = outcome.querySelector("[data-count]")?.textContent.trim() ?? "";
        count.textContent = said;
        announce(said);
      } catch (error) {
        excused(error, (said) => mine === asked && nothing(said));
      }
    }

    // Problems where they are, and once more as a list, which can be reached with the keyboard.
    function tell(errors, warnings = []) {
      const all = [...errors, ...warnings.map((each) => ({ ...each, severity: "warning" }))];
      if (mode === "text") text.show(all);
      else if (errors.length || !visual.gaps()) visual.show(errors);
      problemList.replaceChildren(...all.map((problem) => element("li", { class: problem.severity },
        element("span", { class: "kind" }, problem.severity === "error" ? texts.error : texts.warning), " ",
        element("bdi", { lang: "en" }, problem.detail), " ",
        mode === "text" && problem.suggestion && problem.span
          ? element("button", { type: "button", class: "suggestion", onclick: () => text.replace(problem.span, problem.suggestion) },
            ...muster.around(texts.replaceBy, problem.suggestion))
          : null,
        mode === "text" && problem.span
          ? element("button", { type: "button", class: "quiet", onclick: () => text.select(problem.span) }, texts.showPlace)
          : null)));
    }

    async function switchTo(wanted) {
      if (wanted === mode) return;
      const { mine, signal } = supersede();
      try {
        const moved = await (wanted === "visual" ? toTree(signal) : toText(signal));
        if (mine !== asked || !moved) return;
      } catch (error) {
        return excused(error, nothing);
      }
      show(wanted);
      announce(wanted === "visual" ? texts.nowVisual : texts.nowText);
      textarea.value = current();
      const next = supersede();
      waiting(texts.counting);
      look(next.mine, next.signal);
    }

    async function toTree(signal) {
      const written = text.get();
      if (written.trim() === "") visual.open(null);
      else if (anchor?.text === written) visual.open(anchor.tree);
      else {
        const found = await (await ask(place.dataset.check, { rule: written }, signal)).json();
        if (!found.valid) {
          tell(found.errors.map((each) => ({ ...each, severity: "error" })));
          announce(texts.staysText);
          nothing(texts.staysText);
          if (found.errors[0]?.span) text.select(found.errors[0].span);
          return false;
        }
        visual.open(found.tree);
        anchor = { text: written, tree: visual.read(), isBuilt: false };
        return true;
      }
      if (anchor) anchor.tree = visual.read();
      return true;
    }

    async function toText(signal) {
      const built = visual.read();
      if (built === null) text.set("");
      else if (anchor && tree.same(built, anchor.tree)) text.set(anchor.text);
      else {
        const gaps = visual.gaps();
        const found = gaps ? null : await (await ask(place.dataset.check, { rule: JSON.stringify(built) }, signal)).json();
        if (!found?.valid) {
          if (found) visual.show(found.errors);
          announce(texts.staysVisual);
          nothing(texts.staysVisual);
          visual.focusFault();
          return false;
        }
        text.set(found.text);
        anchor = { text: found.text, tree: built, isBuilt: true };
      }
      return true;
    }

    function show(wanted) {
      mode = wanted;
      part("text").hidden = wanted !== "text";
      part("visual").hidden = wanted !== "visual";
      for (const tab of tabs) {
        tab.setAttribute("aria-selected", String(tab.dataset.mode === wanted));
        tab.tabIndex = tab.dataset.mode === wanted ? 0 : -1;
      }
    }

    const tabs = [...place.querySelectorAll('[role="tab"]')];
    for (const tab of tabs) tab.addEventListener("click", () => switchTo(tab.dataset.mode));
    part("tabs").addEventListener("keydown", (event) => {
      if (!["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) return;
      event.preventDefault();
      const other = tabs[(tabs.indexOf(document.activeElement) + 1) % tabs.length];
      other.focus();
      switchTo(other.dataset.mode).then(() => tabs.find((each) => each.tabIndex === 0).focus());
    });

    async function begin() {
      await learn().catch((error) => excused(error, nothing));
      // Somebody may have begun to write in the plain field meanwhile.
      const isBegun = document.activeElement === textarea;
      if (textarea.value !== text.get()) text.set(textarea.value);
      part("rich").hidden = false;
      if (isBegun) text.follow(textarea);
      part("fallback").hidden = true;
      const given = textarea.value.trim();
      if (given.startsWith("{")) {
        try {
          visual.open(JSON.parse(given));
          show("visual");
        } catch { /* it is shown as it is */ }
      } else show("text");
      place.dataset.ready = "true";
      const { mine, signal } = supersede();
      look(mine, signal);
    }

    form.elements.project_id?.addEventListener("change", () => learn().then(() => { visual.refresh(); edited(); }));
    // A second click sends nothing again; the answer may take as long as a short evaluation.
    form.addEventListener("submit", (event) => {
      if (form.ariaBusy === "true") return event.preventDefault();
      textarea.value = current();
      form.ariaBusy = "true";
    });
    addEventListener("pageshow", () => { form.ariaBusy = null; });
    begin();
  }

  // A sentence around a text of the author's: "Put %s there" with the text kept apart from its direction.
  muster.around = (sentence, text) => {
    const [before, after = ""] = sentence.split("%s");
    return [before, element("bdi", { dir: "ltr", class: "code" }, text), after];
  };

  document.querySelectorAll("[data-rule-editor]").forEach(editor);
})();
