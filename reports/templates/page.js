"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const filters = document.getElementById("filters");
  const sheet = document.getElementById("sheet");
  const body = document.getElementById("sheet-body");
  const say = (words) => { document.getElementById("said").textContent = words; };

  /* Filters: columns by backend, groups by chapter, rows by verdict, dtype and words. */
  const heads = all(".grid thead tr:last-child th").slice(1);
  const columns = heads.map((th) => th.dataset.b);
  const articles = all("article.clause");
  const words = new Map(articles.map((article) => [article.dataset.k, article.textContent.toLowerCase()]));
  const rows = all(".grid tr[data-k]");
  const apply = () => {
    const want = Object.fromEntries(new FormData(filters));
    const sought = want.words.toLowerCase().split(/\s+/).filter(Boolean);
    const matching = rows.filter((row) => (!want.chapter || row.parentNode.dataset.c === want.chapter)
      && sought.every((word) => words.get(row.dataset.k).includes(word)));
    const says = (cell) => (!want.verdict || cell.textContent.trim() === want.verdict)
      && (!want.dtype || (cell.dataset.d || "").split(" ").includes(want.dtype));
    const visible = columns.map((backend, index) => (!want.backend || backend === want.backend)
      && (!(want.verdict || want.dtype) || matching.some((row) => says(row.cells[index + 1]))));
    const kept = new Set(matching.filter((row) => all("td", row).some((cell, index) => visible[index] && says(cell)))
      .map((row) => row.dataset.k));
    all(".grid tbody tr").forEach((row) => all("td", row).forEach((cell, index) => {
      cell.hidden = !visible[index];
      cell.classList.toggle("dim", "k" in row.dataset && !says(cell));
    }));
    heads.forEach((th, index) => { th.hidden = !visible[index]; });
    all(".grid thead th[colspan]").forEach((th) => {
      const width = columns.filter((backend, index) => visible[index] && backend === th.dataset.b).length;
      th.hidden = !width;
      th.colSpan = width || 1;
    });
    rows.forEach((row) => { row.hidden = !kept.has(row.dataset.k); });
    articles.forEach((article) => { article.hidden = !kept.has(article.dataset.k); });
    all("tbody[data-c], section[data-c]").forEach((group) => {
      group.hidden = !all("[data-k]", group).some((item) => kept.has(item.dataset.k));
    });
    all(".clause [data-b], .panel, section[data-b]").forEach((item) => {
      item.hidden = Boolean(want.backend) && item.dataset.b !== want.backend;
    });
    document.getElementById("shown").textContent = `${kept.size} of ${rows.length} clauses`;
  };
  filters.hidden = false;
  filters.addEventListener("input", apply);
  filters.addEventListener("submit", (event) => event.preventDefault());
  filters.addEventListener("reset", () => setTimeout(apply));
  apply();

  /* A copy button on every reproducer, and how it is run below each of a backend's recorded deviations. */
  all("section[data-b] > .how").forEach((how) => all("dl", how.parentNode).forEach((list) => {
    list.append(Object.assign(document.createElement("dt"), { textContent: "run as" }),
      Object.assign(document.createElement("dd"), { textContent: how.textContent }));
  }));
  all("pre.script").forEach((pre) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.setAttribute("aria-label", "Copy the reproducer");
    const whole = button.cloneNode(true);
    whole.className = "copy markdown";
    whole.textContent = "As Markdown";
    whole.setAttribute("aria-label", "Copy all of it as Markdown for an issue tracker");
    pre.before(whole, button);
  });
  const fenced = (text, language) => {
    const fence = "`".repeat(Math.max(3, ...(text.match(/`+/g) || []).map((run) => run.length + 1)));
    return `${fence}${language}\n${text.trimEnd()}\n${fence}`;
  };
  const markdown = (list) => [...all("summary > b", list.closest(".deviation") || list), ...list.children].map((item) => {
    const code = item.querySelector("pre");
    if (item.tagName !== "DD") return `**${item.textContent}**`;
    return code ? fenced(code.textContent, code.className === "script" ? "python" : "") : item.textContent.trim();
  }).join("\n\n");
  const copy = (button) => {
    const pre = button.parentNode.querySelector("pre"), label = button.textContent;
    const text = button.classList.contains("markdown") ? markdown(button.closest("dl")) : pre.textContent;
    const done = () => { button.textContent = "Copied"; say("Copied"); setTimeout(() => { button.textContent = label; }, 2000); };
    const select = () => { getSelection().selectAllChildren(pre); say("Selected"); };
    if (navigator.clipboard) navigator.clipboard.writeText(text).then(done, select); else select();
  };

  /* A cell opens in place: its clause, and its evidence copied from the places that plain links would lead to; without
     evidence, what the clause says of its backend. */
  const open = (cell) => {
    const article = document.getElementById(cell.closest("tr").dataset.k);
    const backend = heads[cell.closest("td").cellIndex - 1].dataset.b;
    const evidence = cell.id ? [] : [document.getElementById(cell.hash.slice(1))];
    const recorded = evidence.flatMap((item) => all("a[href*=':deviation-']", item)).map((link) => link.hash.slice(1));
    const shown = [...evidence, ...[...new Set(recorded)].map((id) => document.getElementById(id))];
    const copies = shown.map((item) => item.cloneNode(true));
    copies.forEach((item) => { item.open = true; });
    const list = document.createElement("ul");
    list.className = "rest";
    list.append(...all(".rest li", article).filter((item) => item.dataset.b === backend).map((item) => item.cloneNode(true)));
    const text = all(":scope > h4, :scope > .text", article).map((node) => node.cloneNode(true));
    body.replaceChildren(...text, ...(evidence.length ? copies : [list]));
    all("[id]", body).forEach((node) => node.removeAttribute("id"));
    sheet.setAttribute("aria-label", `${article.dataset.k}: ${cell.textContent}`);
    sheet.showModal();
    body.scrollTop = 0;
  };
  const reveal = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    if (target.closest("[hidden]")) filters.reset();
    if (target.tagName === "DETAILS") target.open = true;
    setTimeout(() => target.scrollIntoView());
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button.copy");
    const cell = event.target.closest(".grid td a");
    if (button) copy(button);
    if (event.target.closest("[data-close], #sheet a[href^='#']") || event.target === sheet) sheet.close();
    const plain = !event.ctrlKey && !event.metaKey && !event.shiftKey;
    if (!cell || !plain) return;
    event.preventDefault();
    history.replaceState(null, "", cell.id ? `#${cell.id}` : cell.hash);
    open(cell);
  });
  addEventListener("hashchange", reveal);
  reveal();
})();
