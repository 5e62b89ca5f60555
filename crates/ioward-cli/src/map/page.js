"use strict";
(() => {
  const trees = [...document.querySelectorAll("[role=tree]")];
  const panel = document.getElementById("panel");
  const form = document.getElementById("find");
  const box = form.querySelector("input");
  const count = form.querySelector("output");
  // Nodes of each tree in the order of the drawing, and where each function is drawn.
  const nodes = new Map(trees.map(tree => [tree, [...tree.querySelectorAll("a.n")]]));
  const drawn = new Map(trees.map(tree => [tree, new Map()]));
  for (const [tree, list] of nodes) {
    list.forEach((node, place) => {
      node.place = place;
      node.level = Number(node.getAttribute("aria-level"));
      node.members = [name(node), ...(node.dataset.more || "").split(" ").filter(Boolean)];
      node.members.forEach(member => drawn.get(tree).set(member, node));
      node.tabIndex = place ? -1 : 0;
      // The panel says more than the text under the pointer, and at once.
      node.querySelector("title")?.remove();
    });
  }
  // Without a script a function's address leads to its entry. With one it opens the panel, so entries give it up.
  const entries = new Map([...document.querySelectorAll(".entry")].map(entry => [entry.id, entry]));
  entries.forEach(entry => entry.removeAttribute("id"));
  document.querySelector(".entries").open = false;
  // Reasons by function, for each policy.
  const reasons = new Map(trees.map(tree => [tree, new Map()]));
  for (const tree of trees) {
    for (const item of document.querySelectorAll(`.why.${tree.dataset.view} li[data-m]`)) {
      for (const end of new Set([item.dataset.m, item.dataset.w])) {
        const known = reasons.get(tree);
        known.has(end) ? known.get(end).push(item) : known.set(end, [item]);
      }
    }
  }
  let chosen = null;
  // The page's address names what is chosen. Browsers refuse to change it hundreds of times in a row, as a key that is held
  // down would.
  let later = 0;
  function address(hash) {
    clearTimeout(later);
    later = setTimeout(() => {
      if (location.hash !== hash) history.replaceState(null, "", location.pathname + location.search + hash);
    }, 150);
  }

  function name(node) { return node.getAttribute("href").slice(1); }
  function element(kind, text, parent) {
    const made = document.createElement(kind);
    made.textContent = text;
    parent?.append(made);
    return made;
  }

  // Marks a function, its group and what ties it.
  function mark(at) {
    for (const tree of trees) {
      const here = drawn.get(tree).get(at);
      tree.classList.toggle("chosen", Boolean(here));
      const ties = new Set((reasons.get(tree).get(at) || []).flatMap(item => item.dataset.s.split(" ")));
      const group = groupOf(at, tree);
      for (const node of nodes.get(tree)) {
        node.classList.toggle("here", node === here);
        node.classList.toggle("mate", Boolean(here) && group !== "" && node.dataset.g === group);
        node.classList.toggle("ties", node !== here && node.members.some(member => ties.has(member)));
        node.setAttribute("aria-selected", String(node === here));
      }
    }
  }
  function groupOf(at, tree) {
    return entries.get(at)?.querySelector(`[data-view=${tree.dataset.view}]`)?.dataset.g ?? "";
  }

  // What the panel says of a function: its entry, and for each policy why it is where it is.
  function show(at) {
    const entry = entries.get(at);
    if (!entry) return false;
    const inside = document.createElement("div");
    inside.append(...[...entry.children].filter(child => !child.matches(".in")).map(child => child.cloneNode(true)));
    const node = drawn.get(trees[0])?.get(at);
    if (node && node.members.length > 1) {
      const line = element("p", "Drawn together: ", inside);
      for (const member of node.members.slice(0, 64)) {
        const link = element("a", member.slice(5), line);
        link.href = "#" + member;
        line.append(" ");
      }
      if (node.members.length > 64) line.append(`and ${node.members.length - 64} more`);
    }
    const both = element("div", "", inside);
    both.className = "both";
    for (const tree of trees) {
      const part = element("section", "", both);
      part.className = "because " + tree.dataset.view;
      part.append(entry.querySelector(`.in[data-view=${tree.dataset.view}]`).cloneNode(true));
      const own = [...reasons.get(tree).get(at) || []];
      own.sort((one, other) => (other.dataset.m === at) - (one.dataset.m === at));
      const list = element("ul", "", part);
      own.slice(0, 8).forEach(item => element("li", item.textContent, list));
      const group = document.getElementById(tree.dataset.view + "-" + groupOf(at, tree));
      const all = group ? group.querySelectorAll("li[data-m]").length : 0;
      const rest = all - Math.min(own.length, 8);
      if (rest > 0) {
        const line = element("p", "", part);
        const link = element("a", rest === 1 ? "1 more reason of this group" : `${rest} more reasons of this group`, line);
        link.href = "#" + group.id;
      }
      if (!own.length && entry.querySelector(`.in[data-view=${tree.dataset.view}]`).dataset.g !== "") {
        list.remove();
        element("p", "Nothing ties it to any other function.", part);
      }
    }
    const close = element("button", "✕", inside);
    close.setAttribute("aria-label", "Close");
    close.addEventListener("click", clear);
    panel.classList.remove("glance", "above");
    panel.replaceChildren(inside);
    panel.hidden = false;
    mark(at);
    return true;
  }
  function choose(at, focus) {
    if (!show(at)) return;
    chosen = at;
    document.body.classList.add("open");
    for (const tree of trees) {
      const node = drawn.get(tree).get(at);
      if (!node) continue;
      for (const other of nodes.get(tree)) other.tabIndex = other === node ? 0 : -1;
      if (focus === tree) node.focus({ preventScroll: true });
    }
    const node = trees.map(tree => drawn.get(tree).get(at)).find(node => node?.getClientRects().length);
    node?.scrollIntoView({ block: "nearest", inline: "nearest" });
    // The panel covers the lower part.
    const below = node ? node.getBoundingClientRect().bottom - panel.getBoundingClientRect().top + 16 : 0;
    if (below > 0) scrollBy(0, below);
    address("#" + at);
  }
  function clear() {
    panel.hidden = true;
    chosen = null;
    document.body.classList.remove("open");
    mark("");
    address("");
  }

  function step(tree, node, key) {
    const list = nodes.get(tree);
    const next = by => list[Math.min(Math.max(node.place + by, 0), list.length - 1)];
    switch (key) {
      case "ArrowDown": return next(1);
      case "ArrowUp": return next(-1);
      case "Home": return list[0];
      case "End": return list[list.length - 1];
      case "ArrowRight": return next(1).level > node.level ? next(1) : node;
      case "ArrowLeft": {
        let above = node.place;
        while (above > 0 && list[above].level >= node.level) above--;
        return list[above].level < node.level ? list[above] : node;
      }
      case "g": {
        const mates = list.filter(other => other.dataset.g !== undefined && other.dataset.g === node.dataset.g);
        return mates[(mates.indexOf(node) + 1) % mates.length] || node;
      }
    }
    return null;
  }

  for (const tree of trees) {
    tree.addEventListener("click", event => {
      const node = event.target.closest("a.n");
      if (!node) return;
      event.preventDefault();
      choose(name(node), tree);
    });
    tree.addEventListener("focusin", event => {
      const node = event.target.closest("a.n");
      if (node && !node.members.includes(chosen)) choose(name(node), null);
    });
    // Under a pointer the panel shows a function for as long as nothing is chosen.
    tree.addEventListener("pointerover", event => {
      const node = event.target.closest("a.n");
      if (!node || chosen || event.pointerType === "touch") return;
      show(name(node));
      // It must neither cover what is under the pointer nor take the pointer away from it.
      panel.classList.add("glance");
      panel.classList.toggle("above", event.clientY > innerHeight / 2);
    });
    tree.addEventListener("pointerleave", () => { if (!chosen && !panel.hidden) clear(); });
    tree.addEventListener("keydown", event => {
      const node = event.target.closest("a.n");
      if (!node || event.ctrlKey || event.altKey || event.metaKey) return;
      const next = step(tree, node, event.key);
      if (!next) return;
      event.preventDefault();
      choose(name(next), tree);
    });
  }

  // Finding: what matches stays, the rest fades; Enter goes from match to match.
  let hits = [];
  function find() {
    const wanted = box.value.trim().toLowerCase();
    hits = [];
    if (wanted) {
      for (const [at, entry] of entries) {
        const text = entry.children[0].textContent + " " + entry.children[1].textContent;
        if (text.toLowerCase().includes(wanted)) hits.push(at);
      }
    }
    const found = new Set(hits);
    for (const tree of trees) {
      tree.classList.toggle("finding", Boolean(wanted));
      for (const node of nodes.get(tree)) node.classList.toggle("hit", node.members.some(member => found.has(member)));
    }
    count.textContent = wanted ? (hits.length === 1 ? "1 function" : `${hits.length} functions`) : "";
  }
  form.hidden = false;
  box.addEventListener("input", () => { clear(); find(); });
  form.addEventListener("submit", event => {
    event.preventDefault();
    if (hits.length) choose(hits[(hits.indexOf(chosen) + 1) % hits.length], null);
  });
  document.addEventListener("keydown", event => {
    if (event.key === "/" && document.activeElement !== box) {
      event.preventDefault();
      box.focus();
    } else if (event.key === "Escape") {
      box.value = "";
      find();
      clear();
    }
  });

  // Links to functions open the panel; the list of all functions stays as it is.
  document.addEventListener("click", event => {
    const link = event.target.closest("a[href^='#']:not(.n)");
    const at = link ? decodeURIComponent(link.hash.slice(1)) : "";
    if (entries.has(at)) {
      event.preventDefault();
      choose(at, null);
    }
  });
  const asked = () => choose(decodeURIComponent(location.hash.slice(1)), null);
  addEventListener("hashchange", asked);
  asked();
})();
