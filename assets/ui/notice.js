// Says that a job is under way, and that it has ended: in the page's title, and on the desktop if that was asked for.
(() => {
  const LONG_S = 20, KEPT = "flen-notify", NAME = "FLENwheel";
  let seen = null, since = 0, share = "";
  const wanted = () => localStorage.getItem(KEPT) === "yes" && window.Notification && Notification.permission === "granted";

  const tell = () => {
    const words = !window.Notification ? "This browser cannot show notices on the desktop."
      : Notification.permission === "denied" ? "The browser forbids notices of this page: allow them in its site settings."
        : wanted() ? `On: jobs of more than ${LONG_S} seconds say when they end, while this page is not in sight.` : "Off.";
    document.querySelectorAll("[data-notify-state]").forEach((node) => { if (node.textContent !== words) node.textContent = words; });
    document.querySelectorAll("[data-notify]").forEach((node) => node.setAttribute("aria-pressed", String(Boolean(wanted()))));
  };

  const ended = (node) => {
    const good = node.dataset.state === "done", words = `${node.dataset.words} ${good ? "is done" : node.dataset.state}`;
    document.title = `${good ? "✓ done" : `✗ ${node.dataset.state}`} · ${node.dataset.words}`;
    if (wanted() && document.hidden && performance.now() - since > 1000 * LONG_S) {
      const notice = new Notification(NAME, { body: words, tag: node.dataset.ended });
      notice.addEventListener("click", () => { window.focus(); notice.close(); });
    }
  };

  const look = () => {
    const strip = document.querySelector("#fl-strip .fl-strip");
    if (!strip) return;
    tell();
    const now = strip.querySelector("[data-running]"), last = strip.querySelector("[data-ended]");
    if (now) {
      if (seen !== now.dataset.running) { seen = now.dataset.running; since = performance.now(); }
      share = now.dataset.share ? `(${now.dataset.share} %) ` : "";
      document.title = `${share}${now.dataset.words} · ${NAME}`;
    } else if (seen) {
      if (last && last.dataset.ended === seen) ended(last); else document.title = NAME;
      seen = null;
    }
  };

  const calm = () => { if (/^[✓✗]/.test(document.title)) document.title = NAME; };
  for (const kind of ["pointerdown", "keydown"]) addEventListener(kind, calm, true);
  document.addEventListener("click", async (event) => {
    if (!event.target.closest("[data-notify]")) return;
    const on = wanted();
    if (!on && window.Notification && Notification.permission !== "granted") await Notification.requestPermission();
    localStorage.setItem(KEPT, on ? "no" : "yes");
    tell();
  });
  setInterval(look, 1000);
})();
