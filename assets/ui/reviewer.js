// The reviewer's page: it follows the system's dark or light, and a finger on a known picture lays it over the judged one.
(() => {
  try {
    localStorage.setItem("flen-theme", matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  } catch { /* a browser that stores nothing stays dark */ }
  // A link that has ended answers no more.
  new MutationObserver((changes) => changes.flatMap((each) => [...each.addedNodes]).filter((node) => node.className === "fl-away").forEach((node) => {
    node.textContent = "Nothing answers: the review has ended, or you are offline. What you chose before is kept.";
  })).observe(document.documentElement, { childList: true, subtree: true });
  // A tap lays a known picture over the judged one until the next tap; a longer press until it is let go.
  const HELD_MS = 350;
  const main = () => document.querySelector("[data-main]");
  let since = 0, over = null;
  const back = () => {
    const node = main();
    if (node?.dataset.own) { node.src = node.dataset.own; delete node.dataset.own; }
    document.querySelectorAll(".fl-over").forEach((each) => each.classList.remove("fl-over"));
    over = null;
  };
  const lay = (figure) => {
    const known = figure.querySelector("img"), node = main();
    if (!known || !node) return;
    if (!node.dataset.own) node.dataset.own = node.src;
    node.src = known.src;
    figure.classList.add("fl-over");
    document.querySelector(".fl-judged")?.classList.add("fl-over");
    over = figure;
  };
  document.addEventListener("pointerdown", (event) => {
    const figure = event.target.closest(".fl-known figure"), was = over;
    since = performance.now();
    if (was && (figure || event.target.closest(".fl-judged"))) back();
    if (figure && figure !== was) lay(figure);
  });
  window.addEventListener("pointerup", () => { if (over && performance.now() - since > HELD_MS) back(); });
  ["pointercancel", "blur"].forEach((name) => window.addEventListener(name, back));
  document.addEventListener("keydown", (event) => {
    const figure = event.target.closest?.(".fl-known figure");
    if (figure && event.key === "Enter") { const was = over; back(); if (figure !== was) lay(figure); }
  });
})();
