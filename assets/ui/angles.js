// The ring of angles: arrow keys move to the neighbour that lies in their direction; space ticks, as ever.
(() => {
  const WAYS = { ArrowLeft: ["x", -1], ArrowRight: ["x", 1], ArrowUp: ["y", -1], ArrowDown: ["y", 1] };
  document.addEventListener("keydown", (event) => {
    const ring = event.target.closest?.(".fl-ring"), way = WAYS[event.key];
    if (!ring || !way) return;
    event.preventDefault();
    const all = [...ring.querySelectorAll("input")], at = all.indexOf(event.target), [axis, sign] = way;
    const place = (node) => sign * node.getBoundingClientRect()[axis];
    const beside = [1, -1].map((step) => all[(at + step + all.length) % all.length]);
    const [best] = beside.filter((node) => place(node) > place(event.target)).sort((a, b) => place(b) - place(a));
    best?.focus();
  });
})();
