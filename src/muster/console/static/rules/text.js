// A rule as text: CodeMirror with the words of the rule language, completion, and problems underlined where they are.
"use strict";

(() => {
  const muster = (window.muster ??= {});
  const {
    Compartment, EditorState, EditorView, keymap, placeholder, history, historyKeymap, defaultKeymap, StreamLanguage,
    syntaxHighlighting, bracketMatching, classHighlighter, autocompletion, completionKeymap, startCompletion,
    closeBrackets, closeBracketsKeymap, setDiagnostics, nextDiagnostic, tooltips,
  } = window.CodeMirror;

  const WORDS = ["and", "or", "not", "in", "for", "if"];
  const CONSTANTS = ["true", "false", "null"];
  const STRING = /[dtrs]?(?:"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?)/;
  const FIELD = "[A-Za-z]\\w*\\.[A-Za-z]\\w*";
  // Where a value of a field is expected: `lead.status == "ne`, `lead.status in ["new", "o`.
  const VALUE = new RegExp(`(${FIELD})\\s*(?:==|!=|(?:not\\s+)?in\\s*\\[(?:[^\\]]*,)?)\\s*(["']?)((?:(?!\\2)[^"',\\]])*)$`);
  const MEMBER = new RegExp(`(${FIELD})\\.(\\w*)$`);
  const AFTER_FIELD = new RegExp(`(?:^|[\\s(])(${FIELD})\\s+(\\S*)$`);
  const COHORT = /\$in_cohort\(\s*(["']?)([^"')]*)$/;

  const SIGNS = {
    string: ["==", "!=", "in", "not in", "=~", "=~~", "!~", "!~~"],
    number: [">", ">=", "<", "<=", "==", "!=", "in", "not in"],
    boolean: ["==", "!="],
    datetime: [">", ">=", "<", "<=", "==", "!="],
  };
  const MEMBERS = {
    string: ["starts_with(", "ends_with(", "as_lower", "as_upper", "length", "is_empty"],
    number: ["ceiling", "floor"],
    datetime: ["year", "month", "day", "weekday", "hour", "minute", "date"],
    "list of string": ["length", "is_empty"],
    "list of number": ["length", "is_empty"],
  };

  const language = (known) =>
    StreamLanguage.define({
      name: "rule",
      token(stream) {
        if (stream.eatSpace()) return null;
        if (stream.match(/#.*/)) return "comment";
        if (stream.match(STRING)) return "string";
        if (stream.match(/\d[\w.]*(?:[eE][+-]?\d+)?/)) return "number";
        if (stream.match(/\$\w+/)) return "macroName";
        if (stream.match(new RegExp(FIELD))) return known().types[stream.current()] ? "propertyName" : "variableName";
        if (stream.match(/\w+/)) {
          if (WORDS.includes(stream.current())) return "keyword";
          return CONSTANTS.includes(stream.current()) ? "atom" : "variableName";
        }
        if (stream.match(/[=!<>~?:&|^+\-*/%]+/)) return "operator";
        stream.next();
        return null;
      },
    });

  // Offsets of the server count characters, those of the browser count a 😀 twice.
  function inBrowser(text) {
    if (!/[\ud800-\udfff]/.test(text)) return (offset) => offset;
    const units = [0];
    for (const character of text) units.push(units[units.length - 1] + character.length);
    return (offset) => units[Math.min(offset, units.length - 1)];
  }

  const quoted = (text) => JSON.stringify(text).replace(/[\u007f-\u009f\u2028\u2029]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);

  function completion(known, values) {
    const option = (label, type, more) => ({ label, type, ...more });

    async function ofValue(context, [, field, quote, begun]) {
      const type = known().types[field];
      if (type === "boolean") {
        return { from: context.pos - begun.length, options: ["true", "false"].map((each) => option(each, "constant")) };
      }
      if (type !== "string") return null;
      const found = await values(field, begun);
      if (context.aborted || !found.length) return null;
      const from = context.pos - begun.length - quote.length;
      const closes = quote && context.state.sliceDoc(context.pos, context.pos + 1) === quote ? 1 : 0;
      return {
        from, filter: false,
        options: found.map((each) => ({
          label: quoted(each), type: "text",
          apply: (view, _, start, end) => {
            const insert = quoted(each);
            view.dispatch({ changes: { from: start, to: end + closes, insert }, selection: { anchor: start + insert.length } });
          },
        })),
      };
    }

    function ofCohort(context, [, quote, begun]) {
      const found = known().cohorts.map(({ id, name }) => option(`${quote || '"'}${id}${quote || '"'}`, "text", { detail: name }));
      return { from: context.pos - begun.length - quote.length, options: found, validFor: /^["']?[\w-]*$/ };
    }

    const everything = () => [
      ...known().fields.map(({ name, type }) => option(name, "property", { detail: type, boost: 2 })),
      ...["and", "or", "not"].map((each) => option(each, "keyword", { boost: 1 })),
      ...CONSTANTS.map((each) => option(each, "constant")),
      option("$now", "variable"), option("$today", "variable"),
      option("$in_cohort", "function", { apply: "$in_cohort(", detail: '("COH-1")' }),
      ...known().functions.map(({ name, signature, description }) =>
        option(name, "function", { apply: `${name}(`, detail: signature.replace(name.replace("$", ""), "").slice(0, 60), info: description || undefined })),
    ];

    return (context) => {
      const before = context.state.sliceDoc(Math.max(0, context.pos - 2000), context.pos);
      let found;
      if ((found = COHORT.exec(before))) return ofCohort(context, found);
      if ((found = VALUE.exec(before)) && (context.explicit || found[2] || found[3])) return ofValue(context, found);
      if ((found = MEMBER.exec(before))) {
        const type = known().types[found[1]];
        const options = (MEMBERS[type] ?? []).map((each) => option(each, "property"));
        return options.length ? { from: context.pos - found[2].length, options, validFor: /^\w*$/ } : null;
      }
      if ((found = AFTER_FIELD.exec(before)) && known().types[found[1]] && (context.explicit || found[2])) {
        const signs = SIGNS[known().types[found[1]]] ?? [];
        const options = [...signs, "and", "or"].map((each, at) => option(each, "keyword", { boost: -at }));
        return { from: context.pos - found[2].length, options, validFor: /^\S*$/ };
      }
      const word = context.matchBefore(/[$\w.]+$/);
      if (!word && !context.explicit) return null;
      return { from: word ? word.from : context.pos, options: everything(), validFor: /^[$\w.]*$/ };
    };
  }

  // `place`: the element to fill. `known()`: fields, functions and cohorts. `values(field, begun)`: a promise of texts.
  muster.ruleText = ({ place, text, label, describedBy, hint, known, values, texts, onChange }) => {
    let isQuiet = false;
    const words = new Compartment();
    const view = new EditorView({
      parent: place,
      state: EditorState.create({
        doc: text,
        extensions: [
          history(), bracketMatching(), closeBrackets(), words.of(language(known)), syntaxHighlighting(classHighlighter),
          autocompletion({ override: [completion(known, values)], icons: false, activateOnTypingDelay: 60 }),
          keymap.of([
            ...closeBracketsKeymap, ...defaultKeymap, ...historyKeymap, ...completionKeymap,
            { key: "F8", run: nextDiagnostic }, { key: "Mod-.", run: startCompletion },
          ]),
          EditorView.lineWrapping,
          EditorState.allowMultipleSelections.of(false),
          tooltips({ position: "absolute" }),
          placeholder(hint),
          EditorState.phrases.of(texts.phrases),
          EditorView.contentAttributes.of({
            "aria-label": label, "aria-describedby": describedBy, dir: "ltr", lang: "en", spellcheck: "false",
            autocapitalize: "off", translate: "no",
          }),
          EditorView.updateListener.of((update) => update.docChanged && !isQuiet && onChange()),
        ],
      }),
    });

    const range = (span) => {
      const doc = view.state.doc.toString();
      const offset = inBrowser(doc);
      let [from, to] = [offset(span.start), Math.min(offset(span.end), doc.length)];
      if (from >= to) [from, to] = from < doc.length ? [from, from + 1] : [Math.max(0, doc.length - 1), doc.length];
      return { from, to };
    };

    const replace = (span, insert) => {
      const { from, to } = range(span);
      view.dispatch({ changes: { from, to, insert }, selection: { anchor: from + insert.length }, scrollIntoView: true });
      view.focus();
    };

    return {
      get: () => view.state.doc.toString(),
      set(value) {
        isQuiet = true;
        view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: value } });
        isQuiet = false;
      },
      // Underline problems: {detail, span?, suggestion?, severity}.
      show(problems) {
        const shown = problems.filter(({ span }) => span).map((problem) => ({
          ...range(problem.span), severity: problem.severity, message: problem.detail,
          actions: problem.suggestion
            ? [{ name: texts.replaceBy.replace("%s", problem.suggestion), apply: () => replace(problem.span, problem.suggestion) }]
            : [],
        }));
        view.dispatch(setDiagnostics(view.state, shown.sort((a, b) => a.from - b.from)));
        view.contentDOM.setAttribute("aria-invalid", String(problems.some(({ severity }) => severity === "error")));
      },
      replace,
      select(span) {
        const { from, to } = range(span);
        view.dispatch({ selection: { anchor: from, head: to }, scrollIntoView: true });
        view.focus();
      },
      // The known names are others now.
      refresh: () => view.dispatch({ effects: words.reconfigure(language(known)) }),
      // Take over the cursor of a text field with the same text.
      follow({ selectionStart, selectionEnd }) {
        view.dispatch({ selection: { anchor: selectionStart, head: selectionEnd }, scrollIntoView: true });
        view.focus();
      },
    };
  };
})();
