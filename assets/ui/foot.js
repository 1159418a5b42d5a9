// The height of the strip at the foot of the page, which wraps on a narrow one, so that what sticks above it stays clear.
(() => {
  const measure = (strip) => document.documentElement.style.setProperty("--fl-foot", `${Math.ceil(strip.getBoundingClientRect().height)}px`);
  const watch = () => {
    const strip = document.querySelector("#fl-strip");
    if (!strip) return setTimeout(watch, 200);
    new ResizeObserver(() => measure(strip)).observe(strip);
    measure(strip);
  };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", watch); else watch();
})();
