// The gallery by keyboard: one Tab stop, arrows between the pictures, Enter opens and enlarges, Space selects, Delete throws away.
// And the bar for many pictures: Enter in one of its fields, and the count of what a replacement would change.
(() => {
  const COUNT_MS = 350;
  let at = ""; // the picture that has the Tab stop
  let place = 0, inside = false, timer = 0;

  const gallery = () => document.querySelector("[data-gallery]");
  const tiles = () => [...(gallery()?.querySelectorAll(".fl-tile") || [])];
  const opener = (tile) => tile?.querySelector(".fl-open");
  const stop = (tile, focus) => {
    if (!tile) return;
    tiles().forEach((each) => {
      const here = each === tile;
      opener(each).tabIndex = here ? 0 : -1;
      const corner = each.querySelector(".fl-pick");
      if (corner) corner.tabIndex = -1;
    });
    at = tile.dataset.id;
    place = tiles().indexOf(tile);
    if (focus) {
      opener(tile).focus();
      tile.scrollIntoView({ block: "nearest" });
    }
  };

  const settle = (element) => {
    if (!element.querySelector("[data-gallery]")) return;
    const all = tiles(), mine = all.find((each) => each.dataset.id === at) || all[Math.min(place, all.length - 1)];
    stop(mine || all[0], inside && (document.activeElement === document.body || !document.activeElement?.isConnected));
  };

  const beside = (tile, key) => {
    const all = tiles(), now = all.indexOf(tile);
    if (key === "Home") return all[0];
    if (key === "End") return all[all.length - 1];
    if (key === "ArrowLeft") return all[now - 1];
    if (key === "ArrowRight") return all[now + 1];
    const wide = all.filter((each) => each.offsetTop === all[0].offsetTop).length;
    if (key === "ArrowUp") return all[now - wide];
    return all[now + wide] || (Math.floor(now / wide) < Math.floor((all.length - 1) / wide) ? all[all.length - 1] : null);
  };

  document.addEventListener("focusin", (event) => {
    const tile = event.target.closest?.("[data-gallery] .fl-tile");
    inside = Boolean(tile);
    if (tile && tile.dataset.id !== at) stop(tile, false);
  });
  // Another picture's column begins at its top, unless its crop is being worked on.
  document.addEventListener("click", (event) => {
    const side = event.target.closest?.("[data-gallery] .fl-open") && document.querySelector("#curate-side");
    if (side && !side.querySelector("#curate-crop-fold [data-crop]")?.offsetParent) side.scrollTop = 0;
  });
  document.addEventListener("pointerdown", (event) => { if (!event.target.closest?.("[data-gallery]")) inside = false; }, true);

  document.addEventListener("keydown", (event) => {
    const field = event.target.closest?.("[data-fields] input");
    if (field && event.key === "Enter" && field.type !== "checkbox") {
      event.preventDefault();
      field.closest("[data-fields]").querySelector("[data-default]")?.click();
      return;
    }
    const tile = event.target.closest?.("[data-gallery] .fl-tile");
    if (!tile || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === " ") {
      event.preventDefault();
      event.stopPropagation();
      window.flen.pick(tile.dataset.id, event.shiftKey);
      return;
    }
    if (event.key === "Delete") {
      event.preventDefault();
      event.stopPropagation();
      if (!window.flen.picked()) window.flen.pick(tile.dataset.id, false);
      document.querySelector("[data-picked-bar='#curate-gallery'] [data-key=Delete]")?.click();
      return;
    }
    if (!["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"].includes(event.key)) return;
    event.preventDefault();
    event.stopPropagation();
    const next = beside(tile, event.key);
    if (!next) return;
    if (event.shiftKey) {
      if (!window.flen.picked()) window.flen.pick(tile.dataset.id, false);
      window.flen.pick(next.dataset.id, true);
    }
    stop(next, true);
  }, true);

  // Enter opens the picture in the column, as a click does; on the one that is open there it enlarges (viewer.js).
  window.addEventListener("keydown", (event) => {
    const tile = event.key === "Enter" && event.target.closest?.("[data-gallery] .fl-open")?.closest(".fl-tile");
    if (!tile || tile.matches(".chosen") || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    if (!event.repeat) opener(tile).click();
  }, true);

  const count = (event) => {
    const box = event.target.closest?.("[data-count]");
    if (!box) return;
    clearTimeout(timer);
    timer = setTimeout(() => window.flen.tell("#curate-told", { act: box.dataset.count, fields: window.flen.fields(box) }), COUNT_MS);
  };
  document.addEventListener("input", count);
  document.addEventListener("click", (event) => { if (event.target.closest?.("[data-fields] [data-act]")) clearTimeout(timer); }, true);
  window.flenGallery = { settle };
})();
