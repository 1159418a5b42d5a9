// The reviewer's page: it follows the system's dark or light, and a finger on a known picture lays it over the judged one.
(() => {
  try {
    localStorage.setItem("flen-theme", matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  } catch { /* a browser that stores nothing stays dark */ }
  const main = () => document.querySelector("[data-main]");
  const back = () => { const node = main(); if (node?.dataset.own) { node.src = node.dataset.own; delete node.dataset.own; } };
  document.addEventListener("pointerdown", (event) => {
    const known = event.target.closest(".fl-known figure")?.querySelector("img"), node = main();
    if (known && node && !node.dataset.own) { node.dataset.own = node.src; node.src = known.src; }
  });
  ["pointerup", "pointercancel", "blur"].forEach((name) => window.addEventListener(name, back));
})();
