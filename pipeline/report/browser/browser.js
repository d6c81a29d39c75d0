// Draws trees: a list of problems, one tree as bars from left to right, what a clicked node holds.
//
//   source.list({text, state, offset}) -> Promise<{total, rows: [{problem, round, passed, checked, leaves, kept}]}>
//   source.tree(problem, round)        -> Promise<tree>         (see report/browser/tree_json.py)
//
// All text is put in as text, never as markup.
"use strict";

function treeBrowser(root, source) {
  const SVG = "http://www.w3.org/2000/svg";
  const ROW = 17, BAR = 9, LEFT = 10, TOP = 14, WIDEST = 4000;
  const state = { tree: null, byId: new Map(), chosen: null, second: null, closed: new Set(), offset: 0, total: 0 };

  const make = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) {
      if (key === "on") for (const [event, handler] of Object.entries(value)) node.addEventListener(event, handler);
      else if (value !== null && value !== undefined) node.setAttribute(key, value);
    }
    node.append(...children.filter((child) => child !== null));
    return node;
  };
  const draw = (tag, attributes, ...children) => {
    const node = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  };

  // ---- the list -----------------------------------------------------------------------------------------------
  const search = make("input", { type: "search", placeholder: "problem…", "aria-label": "Search problems" });
  const filter = make("select", { "aria-label": "Which problems" },
    ...[["", "all"], ["solved", "solved"], ["unsolved", "never solved"], ["mixed", "sometimes"], ["kept", "with kept"], ["unchecked", "not all checked and answered"]]
      .map(([value, label]) => make("option", { value }, label)));
  const items = make("ul", { class: "problems" });
  const count = make("span", {});
  const more = make("button", { type: "button", on: { click: () => list(state.offset) } }, "more");
  const form = make("form", { on: { submit: (event) => { event.preventDefault(); list(0); } } }, search, filter);
  let waiting = 0;
  search.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(() => list(0), 200); });
  filter.addEventListener("change", () => list(0));

  let asked = 0;
  async function list(offset) {
    const mine = ++asked;
    const found = await source.list({ text: search.value, state: filter.value, offset });
    if (mine !== asked) return;
    if (offset === 0) items.replaceChildren();
    for (const row of found.rows) {
      const button = make("button", { type: "button", on: { click: () => open(row.problem, row.round) } },
        row.problem, make("br"), make("small", {}, `round ${row.round}: ${row.passed} of ${row.checked} passed, ${row.kept} kept`));
      button.dataset.problem = row.problem;
      button.dataset.round = row.round;
      items.append(make("li", {}, button));
    }
    state.offset = offset + found.rows.length;
    state.total = found.total;
    count.textContent = `${Math.min(state.offset, state.total).toLocaleString("en")} of ${state.total.toLocaleString("en")}`;
    more.hidden = state.offset >= state.total;
    mark();
    return found;
  }
  function mark() {
    for (const button of items.querySelectorAll("button")) {
      const here = state.tree && button.dataset.problem === state.tree.problem && Number(button.dataset.round) === state.tree.round;
      button.setAttribute("aria-current", here ? "true" : "false");
    }
  }

  // ---- the tree -----------------------------------------------------------------------------------------------
  const heading = make("h2", { class: "problem-heading", tabindex: "-1" });
  const prompt = make("div", { class: "prompt" });
  const stage = make("div", { class: "tree", tabindex: "0", role: "application", "aria-label": "Tree of the problem; arrow keys move, Space folds" });
  const details = make("div", { class: "details" });
  const legend = make("div", { class: "legend" });
  const hint = make("p", { class: "hint" }, "Click a node for what it holds; Shift and click, or C, for a second beside it. Arrow keys move, Space folds.");

  // Value 0 to 1 as orange over grey to blue, which colour-blind readers tell apart; no value: hatched grey.
  function colour(value) {
    if (value === null || value === undefined) return "#9a9a9a";
    const v = Math.max(0, Math.min(1, value));
    const mix = (a, b, t) => a.map((x, i) => Math.round(x + (b[i] - x) * t));
    const low = [213, 94, 0], middle = [225, 220, 200], high = [0, 114, 178];
    const [r, g, b] = v < 0.5 ? mix(low, middle, 2 * v) : mix(middle, high, 2 * v - 1);
    return `rgb(${r},${g},${b})`;
  }
  const GIVEN = "#CC79A7"; // what a tool said: nothing of it was sampled
  const fill = (node) => (node.given ? GIVEN : colour(node.value));
  for (const [value, label] of [[0, "value 0"], [0.5, "½"], [1, "1"], [null, "no value"]]) {
    const swatch = make("span", { class: "swatch" });
    swatch.style.background = colour(value);
    legend.append(make("span", {}, swatch, label));
  }
  const given = make("span", { class: "swatch" });
  given.style.background = GIVEN;
  const called = make("span", { hidden: "" }, given, "a tool's result, given (! not ok, ≠ not as it was before)");
  legend.append(called);
  legend.append(make("span", {}, "✓ passed   ✗ failed   ? not checked, or without an answer   ✂ cut   ×N spared at random, counts N times   ★ kept"));

  async function open(problem, round, nodeId) {
    const tree = await source.tree(problem, round);
    state.tree = tree;
    state.byId = new Map(tree.nodes.map((node) => [node.id, { ...node, children: [] }]));
    state.top = null;
    for (const node of state.byId.values()) {
      const parent = node.parent === null ? null : state.byId.get(node.parent);
      node.up = parent;
      if (parent) parent.children.push(node); else state.top = state.top || node;
    }
    state.closed = new Set();
    state.chosen = state.second = null;
    called.hidden = !tree.nodes.some((node) => node.given);
    heading.textContent = `${tree.problem}, round ${tree.round}`;
    prompt.textContent = tree.prompt;
    if (tree.note) prompt.append(make("p", { class: "hint" }, tree.note));
    mark();
    render();
    choose(state.byId.get(nodeId) || state.top, false);
    return tree;
  }

  function places() {
    const shown = [];
    let row = 0;
    const visit = (node, start) => {
      node.start = start;
      const end = start + node.tokens;
      const children = state.closed.has(node.id) ? [] : node.children;
      if (!children.length) node.row = row++;
      else {
        for (const child of children) visit(child, end);
        node.row = (children[0].row + children[children.length - 1].row) / 2;
      }
      shown.push(node);
    };
    const stack = state.top;
    if (stack) visit(stack, 0);
    return { shown, rows: row };
  }

  function mark_of(node) {
    const leaf = node.leaf;
    let text = "";
    if (state.closed.has(node.id)) text += `▸ ${node.children.length} `;
    if (node.given && node.given.nondeterministic) text += "≠ ";
    if (node.given && node.given.outcome !== "ok") text += "! ";
    if (node.weight !== null && node.weight > 1) text += `×${Math.round(node.weight)} `;
    if (!leaf) return text;
    const sign = leaf.outcome === "pass" ? "✓" : leaf.outcome === "wrong" ? "✗" : leaf.drop === "cut_in_loop" ? "✂" : "?";
    return `${text}${sign}${leaf.kept ? "★" : ""} ${leaf.answer === null ? leaf.drop || "" : leaf.answer}`;
  }

  function render() {
    const { shown, rows } = places();
    const longest = Math.max(1, ...shown.map((node) => node.start + node.tokens));
    const width = Math.max(280, Math.min(WIDEST, (stage.clientWidth || 700) - 170));
    const x = (tokens) => LEFT + (tokens / longest) * width;
    const y = (row) => TOP + row * ROW;
    const svg = draw("svg", { width: width + 180, height: TOP * 2 + rows * ROW, role: "img", "aria-label": `Tree with ${shown.length} nodes` });
    for (const node of shown) {
      if (node.up && node.up.row !== undefined) {
        const at = x(node.start);
        svg.append(draw("path", { class: node.leaf && node.leaf.drop === "cut_in_loop" ? "edge cut" : "edge", d: `M${at},${y(node.up.row)}V${y(node.row)}` }));
      }
    }
    for (const node of shown) {
      const group = draw("g", { class: node.given ? "node given" : "node", "data-node": node.id });
      const from = x(node.start), wide = Math.max(node.parent === null ? 6 : 3, x(node.start + node.tokens) - from);
      group.append(draw("rect", { class: "bar", x: from, y: y(node.row) - BAR / 2, width: wide, height: BAR, rx: node.given ? 0 : 2, fill: fill(node),
        "fill-opacity": node.value === null && !node.given ? 0.35 : 1 }));
      const label = mark_of(node);
      if (label) {
        const text = draw("text", node.given ? { class: "inside", x: from + 3, y: y(node.row) + 4 } : { x: from + wide + 4, y: y(node.row) + 4 });
        text.textContent = label.length > 28 ? label.slice(0, 27) + "…" : label;
        group.append(text);
      }
      const title = draw("title", {});
      const which = node.given ? ` given by the ${node.given.role}: ${node.text.trim().slice(0, 60)}` : "";
      title.textContent = `${node.tokens} tokens${which}${node.value === null ? "" : `, value ${node.value.toFixed(2)}`}`;
      group.append(title);
      group.addEventListener("click", (event) => choose(node, event.shiftKey));
      group.addEventListener("dblclick", () => fold(node));
      node.drawn = group;
      svg.append(group);
    }
    stage.replaceChildren(svg);
    paint();
  }

  function paint() {
    for (const node of state.byId.values()) {
      if (!node.drawn) continue;
      node.drawn.classList.toggle("chosen", node === state.chosen);
      node.drawn.classList.toggle("second", node === state.second);
    }
  }

  function fold(node) {
    if (!node.children.length) return;
    if (state.closed.has(node.id)) state.closed.delete(node.id); else state.closed.add(node.id);
    render();
  }

  function choose(node, beside) {
    if (!node) return;
    if (beside && state.chosen && node !== state.chosen) state.second = node;
    else { state.chosen = node; state.second = null; }
    paint();
    details.replaceChildren(...[state.chosen, state.second].filter(Boolean).map(describe));
    const box = node.drawn && node.drawn.querySelector("rect");
    if (box && box.scrollIntoView) box.scrollIntoView({ block: "nearest", inline: "nearest" });
    const link = new URLSearchParams({ problem: state.tree.problem, round: state.tree.round, node: node.id });
    history.replaceState(null, "", `${location.pathname}${location.search}#${link}`);
  }

  const number = (value, digits = 3) => (value === null || value === undefined ? "–" : value.toFixed(digits));

  const evidence = (node) => `${node.count} independent continuation${node.count === 1 ? "" : "s"}`;
  const MOST_STEPS = 200;

  // The labels on the way from the prompt to a node, one a row: what a trainer of step values reads, and what is behind it.
  function stepLabels(node) {
    const path = [];
    for (let at = node; at && at.parent !== null; at = at.up) path.unshift(at);
    if (path.length < 2) return null;
    const cells = (kind, texts) => make("tr", {}, ...texts.map((text) => make(kind, {}, text)));
    const row = (step) => {
      const text = step.text.trim().replace(/\s+/g, " ");
      return cells("td", [
        text.length > 60 ? `${text.slice(0, 59)}…` : text,
        step.given ? "given" : step.value === null ? "not known" : number(step.value, 2),
        step.given || step.value === null ? "–" : `${number(step.low, 2)} to ${number(step.high, 2)}`,
        step.given || step.value === null ? "–" : `${evidence(step)}, ${step.kind}`,
        number(step.prm, 2)]);
    };
    const shown = path.slice(-MOST_STEPS);
    const names = ["step", "value", "95% interval", "evidence", "PRM"];
    const title = `Labels of the ${path.length} segments to here${shown.length < path.length ? `, the last ${MOST_STEPS}` : ""}`;
    return make("details", { class: "steps", open: "" }, make("summary", {}, title),
      make("div", { class: "wide" }, make("table", {}, make("thead", {}, cells("th", names)), make("tbody", {}, ...shown.map(row)))));
  }

  function describe(node) {
    const facts = [];
    const add = (name, value) => { if (value !== null && value !== undefined && value !== "") facts.push(make("dt", {}, name), make("dd", {}, String(value))); };
    if (node.given) {
      add("said by", `the ${node.given.role}; none of it was sampled, and none of it is trained on`);
      add("call", `${node.given.outcome.replaceAll("_", " ")}, ${number(node.given.ms, 1)} ms`);
      add("nondeterministic", node.given.nondeterministic ? "calls before it, made again for this branch, said something else" : null);
    }
    if (node.calls) add("calls", "ends in a tool call, which the next node answers");
    add("value", node.value === null ? "not known" : `${number(node.value, 2)} (${number(node.low, 2)} to ${number(node.high, 2)}), ${evidence(node)}, ${node.kind}`);
    add("weight", node.weight !== null && node.weight !== 1 ? node.weight : null);
    add("PRM", node.prm === null ? null : number(node.prm));
    add("tokens", `${node.tokens}${node.given ? " given" : ""}, at depth ${node.depth}`);
    add("log-probability", node.logprob === null || node.given ? null : `${number(node.logprob)} nats in all`);
    add("mean entropy", node.entropy === null ? null : `${number(node.entropy)} nats`);
    add("ended by", node.given ? null : node.finish);
    if (!node.given) add("made by", [node.engine, node.weights && `weights ${node.weights}`].filter(Boolean).join(", "));
    const leaf = node.leaf;
    if (leaf) {
      add("answer", leaf.answer);
      add("verdict", [leaf.verdict, leaf.reason].filter(Boolean).join(": ") || "not checked");
      add("evidence", leaf.evidence);
      add("checked in", leaf.ms === null ? null : `${number(leaf.ms, 1)} ms`);
      add("ORM", leaf.orm === null ? null : number(leaf.orm));
      add("fate", leaf.kept ? "kept" : `dropped: ${leaf.drop}`);
      add("trajectory", leaf.trajectory);
    }
    const picked = make("div", { class: "picked-token", "aria-live": "polite" });
    const text = make("pre", { class: "node-text" });
    if (node.ends && node.logprobs) {
      let from = 0;
      node.ends.forEach((end, i) => {
        const token = make("span", { class: "token", tabindex: "0" }, node.text.slice(from, end));
        const p = Math.exp(node.logprobs[i]);
        token.style.background = `color-mix(in srgb, #E69F00 ${Math.round(70 * (1 - p))}%, transparent)`;
        const start = from;
        const pick = () => {
          for (const other of text.querySelectorAll(".picked")) other.classList.remove("picked");
          token.classList.add("picked");
          picked.textContent = `token ${i + 1}: ${JSON.stringify(node.text.slice(start, end))}, log-probability ${number(node.logprobs[i])} (p = ${number(p)})`;
        };
        token.addEventListener("click", pick);
        token.addEventListener("focus", pick);
        text.append(token);
        from = end;
      });
      if (from < node.text.length) text.append(node.text.slice(from));
    } else text.textContent = node.text;
    return make("section", { class: "detail" },
      make("h3", {}, node.parent === null ? "root: the prompt's end" : node.given ? `node ${node.id}: a result` : `node ${node.id}`),
      make("dl", {}, ...facts), text, picked, stepLabels(node),
      node.ends ? null : make("p", { class: "hint" }, node.why_no_tokens || ""));
  }

  stage.addEventListener("keydown", (event) => {
    const at = state.chosen;
    if (!at) return;
    const siblings = at.up ? at.up.children : [at];
    const place = siblings.indexOf(at);
    const to = { ArrowLeft: at.up, ArrowRight: state.closed.has(at.id) ? null : at.children[0],
      ArrowUp: siblings[place - 1], ArrowDown: siblings[place + 1] }[event.key];
    if (to) choose(to, false);
    else if (event.key === " ") fold(at);
    else if (event.key === "c" || event.key === "C") choose(siblings[(place + 1) % siblings.length], true);
    else return;
    event.preventDefault();
  });
  let resizing = 0;
  window.addEventListener("resize", () => { clearTimeout(resizing); resizing = setTimeout(() => { if (state.tree) render(); }, 150); });

  root.classList.add("browser");
  root.append(
    make("div", { class: "list" }, form, items, make("div", { class: "more" }, count, more)),
    make("div", { class: "stage" }, heading, prompt, legend, stage, hint, details));

  async function start() {
    const link = new URLSearchParams(location.hash.slice(1));
    const found = await list(0);
    if (link.has("problem")) return open(link.get("problem"), Number(link.get("round") || 0), link.get("node"));
    if (found && found.rows.length) return open(found.rows[0].problem, found.rows[0].round);
    heading.textContent = "No trees yet";
  }
  window.addEventListener("hashchange", () => {
    const link = new URLSearchParams(location.hash.slice(1));
    if (link.has("problem") && (!state.chosen || link.get("node") !== state.chosen.id)) open(link.get("problem"), Number(link.get("round") || 0), link.get("node"));
  });
  const ready = start().catch((error) => { heading.textContent = `Can't be shown: ${error.message}`; });
  return { open, list, ready, state };
}
