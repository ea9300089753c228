// Runs inside a copy of a report, before everything else in it, and leaves what it found in a <pre> at its end.
// SCHEME is replaced by light or dark.
(() => {
  "use strict";
  const problems = [];
  const checked = {};
  const fail = (text) => problems.push(text);
  const about = (node) => {
    const within = node.closest("section")?.id ?? "page";
    return `${within}: <${node.localName}> "${(node.textContent ?? "").trim().replace(/\s+/g, " ").slice(0, 60)}"`;
  };

  addEventListener("error", (e) => fail(`error: ${e.message ?? "a resource failed to load"}`), true);
  addEventListener("unhandledrejection", (e) => fail(`rejection: ${e.reason}`));
  document.addEventListener("securitypolicyviolation", (e) => fail(`policy: ${e.violatedDirective}, ${e.blockedURI}`));

  const headings = () => {
    const all = [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")];
    if (all.filter((h) => h.localName === "h1").length !== 1) fail("there must be one h1");
    let level = 0;
    for (const heading of all) {
      const own = Number(heading.localName[1]);
      if (own > level + 1) fail(`heading of level ${own} follows level ${level}: ${about(heading)}`);
      level = own;
    }
    checked.headings = all.length;
  };

  const names = () => {
    if (!document.documentElement.lang) fail("no language");
    const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
    if (new Set(ids).size !== ids.length) fail("an id is there twice");
    for (const link of document.querySelectorAll("a[href^='#']")) {
      if (!document.getElementById(link.hash.slice(1))) fail(`a link leads nowhere: ${link.hash}`);
    }
    for (const image of document.querySelectorAll("img")) if (!image.alt) fail("an img has no alt");
    const charts = document.querySelectorAll("svg");
    for (const svg of charts) {
      const named = svg.getAttribute("role") === "img" && svg.getAttribute("aria-label");
      if (!named || !svg.querySelector(":scope > title") || !svg.querySelector(":scope > desc")) {
        fail(`a chart has no name, title or description: ${about(svg)}`);
      }
    }
    for (const table of document.querySelectorAll("table")) {
      if (!table.caption?.textContent.trim()) fail(`a table has no caption: ${about(table)}`);
      if ([...table.querySelectorAll("th")].some((th) => !th.scope)) fail(`a th has no scope: ${about(table)}`);
    }
    for (const input of document.querySelectorAll("input")) {
      if (!input.labels?.length && !input.ariaLabel) fail(`an input has no label: ${about(input)}`);
    }
    checked.charts = charts.length;
  };

  const value = (cell) => {
    const text = cell.dataset.sort ?? cell.firstChild?.textContent ?? "";
    const number = cell.classList.contains("num") ? Number(text.replaceAll(",", "")) : NaN;
    return text === "" || Number.isNaN(number) ? text : number;
  };
  const sorting = () => {
    let columns = 0;
    for (const table of document.querySelectorAll("table.sortable")) {
      const heads = [...table.tHead.rows[0].cells];
      const body = table.tBodies[0];
      const rows = body.rows.length;
      heads.forEach((head, column) => {
        const button = head.querySelector("button");
        if (!button) return fail(`a heading is no button: ${about(head)}`);
        for (const wanted of ["ascending", "descending"]) {
          button.click();
          if (head.ariaSort !== wanted) fail(`aria-sort is ${head.ariaSort}, not ${wanted}: ${about(head)}`);
          if (heads.some((other) => other !== head && other.ariaSort)) fail(`two columns are sorted: ${about(table)}`);
          const numbers = [...body.rows].map((row) => value(row.cells[column])).filter((v) => typeof v === "number");
          const up = wanted === "ascending";
          if (numbers.some((v, i) => i > 0 && (up ? v < numbers[i - 1] : v > numbers[i - 1]))) {
            fail(`not sorted: ${about(head)}`);
          }
        }
        const first = new Set([...body.rows].map((row) => row.cells[column].textContent));
        const before = body.rows[0]?.cells[column].textContent;
        button.click();
        if (first.size > 1 && body.rows[0].cells[column].textContent === before && !head.classList.contains("num")) {
          fail(`the order does not change: ${about(head)}`);
        }
        columns += 1;
      });
      if (body.rows.length !== rows) fail(`rows were lost: ${about(table)}`);
    }
    checked.columns = columns;
  };

  const filtering = () => {
    const inputs = [...document.querySelectorAll(".filter input")];
    for (const input of inputs) {
      const bar = input.closest(".filter");
      const body = bar.nextElementSibling.querySelector("tbody");
      const all = body.rows.length;
      const type = (text) => {
        input.value = text;
        input.dispatchEvent(new Event("input"));
        return [...body.rows].filter((row) => row.checkVisibility());
      };
      const word = body.rows[0].cells[1].textContent;
      const kept = type(word);
      const wrong = kept.some((row) => !row.textContent.toLowerCase().includes(word.toLowerCase()));
      if (kept.length === 0 || wrong) fail(`the filter does not keep ${word}`);
      if (!bar.textContent.includes(String(kept.length))) fail("the filter does not say how many rows are left");
      if (type("no such word").length !== 0) fail("the filter keeps rows without the word");
      if (type("").length !== all) fail("the filter does not give the rows back");
    }
    checked.filters = inputs.length;
  };

  const layout = () => {
    const root = document.documentElement;
    if (root.scrollWidth > innerWidth) {
      fail(`the page is ${root.scrollWidth} px wide in a window of ${innerWidth} px`);
      for (const node of document.querySelectorAll("body *")) {
        const inside = node.parentElement.closest(".scroll, pre");
        if (!inside && node.getBoundingClientRect().right > innerWidth + 1) fail(`too wide: ${about(node)}`);
      }
    }
    for (const node of document.querySelectorAll("body *:not(svg *)")) {
      const style = getComputedStyle(node);
      const hides = ["hidden", "clip"].includes(style.overflowX) && style.clipPath === "none";
      const isCell = node.localName === "td" || node.localName === "th";
      if ((hides || isCell) && node.scrollWidth > node.clientWidth + 1) fail(`text is clipped: ${about(node)}`);
    }
    let texts = 0;
    for (const svg of document.querySelectorAll("svg")) {
      const frame = svg.getBoundingClientRect();
      const boxes = [...svg.querySelectorAll("text")].map((node) => [node, node.getBoundingClientRect()]);
      texts += boxes.length;
      boxes.forEach(([node, box], i) => {
        if (box.left < frame.left - 1 || box.right > frame.right + 1) fail(`a label leaves its chart: ${about(node)}`);
        for (const [other, its] of boxes.slice(0, i)) {
          const wide = Math.min(box.right, its.right) - Math.max(box.left, its.left);
          // Boxes of lines are higher than their letters.
          const high = Math.min(box.bottom, its.bottom) - Math.max(box.top, its.top);
          if (wide > 1 && high > 0.45 * Math.min(box.height, its.height)) {
            fail(`labels overlap: ${about(node)} and ${about(other)}`);
          }
        }
      });
    }
    checked.labels = texts;
  };

  const rgb = (text) => {
    const numbers = text.match(/[\d.]+/g)?.map(Number) ?? [];
    return { channels: numbers.slice(0, 3), opaque: numbers.length < 4 || numbers[3] > 0.99 };
  };
  // Relative luminance and contrast: Web Content Accessibility Guidelines 2.2, section 1.4.3.
  const luminance = (channels) => {
    const [r, g, b] = channels.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (!["transparent", "rgba(0, 0, 0, 0)"].includes(colour)) return rgb(colour).channels;
    }
    return [255, 255, 255];
  };
  const contrast = () => {
    const page = luminance(ground(document.body));
    if (("SCHEME" === "dark") !== page < 0.2) fail(`the page is not SCHEME: luminance ${page.toFixed(2)}`);
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const seen = new Set();
    let count = 0;
    for (let text = walker.nextNode(); text; text = walker.nextNode()) {
      const node = text.parentElement;
      if (!text.data.trim() || node.closest("script, style, title, desc") || !node.checkVisibility()) continue;
      const style = getComputedStyle(node);
      const front = rgb(node.closest("svg") ? style.fill : style.color).channels;
      const back = ground(node);
      const [high, low] = [luminance(front), luminance(back)].sort((a, b) => b - a);
      const ratio = (high + 0.05) / (low + 0.05);
      const pair = `${front} on ${back}`;
      if (ratio < 4.5 && !seen.has(pair)) fail(`contrast ${ratio.toFixed(2)} (${pair}): ${about(node)}`);
      seen.add(pair);
      count += 1;
    }
    checked.texts = count;
  };

  const printing = () => {
    const closed = document.querySelectorAll("details:not([open])").length;
    dispatchEvent(new Event("beforeprint"));
    if (document.querySelector("details:not([open])")) fail("something stays closed on paper");
    dispatchEvent(new Event("afterprint"));
    if (document.querySelectorAll("details:not([open])").length !== closed) fail("what was closed stays open");
    checked.details = closed;
  };

  const all = () => {
    document.getElementById("scheme-SCHEME").click();
    printing();
    for (const details of document.querySelectorAll("details")) details.open = true;
    for (const check of [headings, names, layout, contrast, sorting, filtering, layout]) check();
    const fetched = performance.getEntriesByType("resource").map((entry) => entry.name);
    if (fetched.length > 0) fail(`it fetches ${fetched.join(", ")}`);
    checked.width = innerWidth;
  };
  addEventListener("load", () => {
    try {
      all();
    } catch (e) {
      fail(`the check failed: ${e.stack}`);
    }
    const found = JSON.stringify({ checked, problems });
    const pre = document.createElement("pre");
    pre.id = "evlab-check";
    pre.textContent = found;
    document.body.append(pre);
    // Where the page is framed, the outer page shows it.
    parent.postMessage(found, "*");
  });
})();
