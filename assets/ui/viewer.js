// The viewer: a click on any picture with `data-view` opens it large, over the page, in the order of the block where it
// was clicked. The page holds that order and the place in it; what is known of a picture comes from Python.
(() => {
  const REST_MS = 90, RETRY_MS = 2500;
  let act = null; // sends an act to Python
  let list = [], at = 0, trail = []; // the pictures to walk through, and the lists that a click inside has left
  let beside = "", opener = null, home = null, walked = false; // what to compare with; where the viewer was opened
  let number = 0, drawn = 0, timer = 0;

  const dialog = () => document.querySelector("dialog[data-viewer]");
  const open = () => Boolean(dialog()?.open);
  const part = (name) => dialog().querySelector(`[${name}]`);
  const idOf = (node) => (node.querySelector("[data-main]") ? node.closest("[data-stage]").dataset.id : node.dataset.view);
  const shotOf = (node) => (node.querySelector("img") || node.closest(".fl-tile")?.querySelector("img"))?.src || "";
  const listOf = (place) => {
    const found = new Map();
    place.querySelectorAll("[data-view]").forEach((node) => found.has(idOf(node)) || found.set(idOf(node), shotOf(node)));
    return [...found].map(([id, src]) => ({ id, src }));
  };
  // A picture that stands alone, as the open one of Curate, is walked through with the gallery that also shows it.
  const pagesOf = (node, id) => {
    const own = listOf(node.closest("[data-views], [data-ready], [data-told]") || node);
    if (own.length > 1) return own;
    const all = [...document.querySelectorAll("[data-ready]")].filter((each) => each.offsetParent).map(listOf);
    return all.filter((each) => each.some((one) => one.id === id)).sort((a, b) => b.length - a.length)[0] || own;
  };

  const send = (name = "see", more = {}) => {
    clearTimeout(timer);
    if (!act || !list[at]) return;
    act({ ...more, act: name, id: list[at].id, beside, n: ++number });
    timer = setTimeout(send, RETRY_MS); // an answer that was overtaken by another is asked for again
  };

  // The next picture shows at once, from its thumbnail; what is known of it follows.
  const turn = () => {
    const box = dialog(), now = list[at], image = document.createElement("img");
    image.className = "fl-viewer-picture";
    image.src = now.src;
    image.alt = "the picture is being opened";
    part("data-big").replaceChildren(...(now.src ? [image] : []));
    box.classList.add("ahead");
    part("data-place").textContent = list.length > 1 ? `${at + 1} of ${list.length}` : "";
    part("data-trail").hidden = !trail.length;
    box.querySelectorAll("[data-step]").forEach((node) => { node.disabled = !list[at + Number(node.dataset.step)]; });
    clearTimeout(timer);
    timer = setTimeout(send, REST_MS);
  };

  const step = (by) => {
    if (!list[at + by]) return;
    at += by;
    walked = true;
    turn();
  };
  const back = () => {
    if (!trail.length) return;
    [list, at] = trail.pop();
    turn();
  };

  const show = (node) => {
    const id = idOf(node), inside = dialog().contains(node);
    if (inside) trail.push([list, at]);
    else [trail, opener, home, walked] = [[], node, node.closest("[data-ready]"), false];
    if (!inside) beside = node.closest("[data-view-beside]")?.dataset.viewBeside || "";
    list = pagesOf(node, id);
    at = Math.max(0, list.findIndex((each) => each.id === id));
    if (!inside) part("data-told").replaceChildren();
    if (!open()) dialog().showModal();
    turn();
    dialog().focus();
  };

  const shut = () => open() && dialog().close();
  const closed = () => {
    clearTimeout(timer);
    part("data-big").replaceChildren();
    part("data-told").replaceChildren();
    const last = (trail[0] || [list, at])[0][(trail[0] || [list, at])[1]]?.id;
    const places = [...(home?.isConnected ? home : document).querySelectorAll("[data-view]")].filter((node) => node.offsetParent);
    const node = walked || !opener?.isConnected ? places.find((each) => idOf(each) === last) || opener : opener;
    (node?.closest(".fl-tile")?.querySelector(".fl-open") || node)?.focus();
  };

  // ── what Python has drawn ─────────────────────────────────────────────────────────────────────
  const sign = (node) => JSON.stringify([node?.tagName, { ...node?.dataset }]);
  const reopening = () => [...document.querySelectorAll(".fl-history [data-view]")].find((node) => node.dataset.view === list[at].id);
  const put = (made) => {
    const box = dialog(), held = document.activeElement, mark = box.contains(held) && held !== box ? sign(held) : "";
    const cut = box.querySelector(".fl-compare")?.style.getPropertyValue("--at");
    for (const name of ["data-big", "data-told"]) {
      part(name).replaceChildren(...made.querySelector(`[${name}]`).cloneNode(true).childNodes);
    }
    box.classList.remove("ahead");
    box.querySelector("#fl-viewer-name").textContent = made.dataset.title;
    const again = box.querySelector("[data-reopen]"), frame = box.querySelector(".fl-compare");
    if (again) again.hidden = !reopening();
    if (frame && cut) { frame.style.setProperty("--at", cut); frame.querySelector("input").value = parseFloat(cut); }
    if (!box.contains(document.activeElement)) {
      const same = mark && [...box.querySelectorAll("button, a, input")].find((node) => sign(node) === mark);
      (same || box).focus();
    }
  };
  const settle = (element, trigger) => {
    const made = element.querySelector("[data-viewed]");
    if (!made) return;
    act = trigger;
    if (!open() || made.dataset.id !== list[at]?.id || Number(made.dataset.n) < drawn) return;
    drawn = Number(made.dataset.n);
    if (drawn === number) clearTimeout(timer);
    if (made.dataset.go) {
      shut();
      setTimeout(() => window.flen.openTab(made.dataset.go), 0);
    } else put(made);
  };

  // ── clicks and keys ───────────────────────────────────────────────────────────────────────────
  const pressed = (node) => {
    if (node.closest("[data-shut]")) return shut();
    if (node.closest("[data-trail]")) return back();
    const stepped = node.closest("[data-step]"), other = node.closest("[data-beside]"), acted = node.closest("[data-act]");
    if (stepped) return step(Number(stepped.dataset.step));
    if (other) { beside = other.dataset.beside; return send(); }
    if (acted) { const { act: name, ...more } = acted.dataset; return send(name, more); }
    if (node.closest("[data-reopen]")) {
      const decision = reopening();
      shut();
      window.flen.openTab("Review");
      return decision && window.flenDesk.key(decision);
    }
    if (node === dialog()) return shut(); // beside everything
  };
  document.addEventListener("click", (event) => {
    const node = event.target.closest?.("[data-view]");
    if (node && dialog()) {
      event.preventDefault();
      event.stopPropagation();
      show(node);
    } else if (open() && dialog().contains(event.target)) pressed(event.target);
  }, true);
  document.addEventListener("dblclick", (event) => {
    const node = !open() && event.target.closest?.(".fl-tile")?.querySelector(".fl-enlarge");
    if (node && event.target.closest(".fl-open")) show(node);
  });
  document.addEventListener("close", (event) => event.target === dialog() && closed(), true);

  const wrap = (event) => {
    const all = [...dialog().querySelectorAll("button, a, input")].filter((node) => !node.disabled && node.offsetParent);
    const here = all.indexOf(document.activeElement), last = all.length - 1;
    if (event.shiftKey ? here > 0 : here >= 0 && here < last) return;
    event.preventDefault();
    all[event.shiftKey ? last : 0].focus();
  };
  const within = (event) => {
    const slider = event.target.matches?.("input[type=range]");
    if (event.key === "Tab") return wrap(event);
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (slider && event.key.startsWith("Arrow")) return;
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") { event.preventDefault(); return step(event.key === "ArrowLeft" ? -1 : 1); }
    if (event.repeat) return;
    if (event.key === "Backspace") return back();
    if (event.key === "b") {
      const all = [...dialog().querySelectorAll("[data-beside]")], on = all.findIndex((node) => node.matches(".on"));
      return all.length && all[(on + 1) % all.length].click();
    }
    const node = [...dialog().querySelectorAll("[data-key]")].find((each) => each.dataset.key === event.key);
    if (node) { event.preventDefault(); node.click(); }
  };
  const outside = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (/^(input|textarea|select)$/i.test(event.target.tagName) || event.target.isContentEditable) return;
    const tile = event.key === "Enter" && event.target.closest?.(".fl-open")?.closest(".fl-tile")?.querySelector(".fl-enlarge");
    const named = [...document.querySelectorAll("[data-view-key]")].find((node) => node.dataset.viewKey === event.key && node.offsetParent);
    if (!tile && !named) return;
    event.preventDefault();
    event.stopPropagation();
    show(tile || named);
  };
  // The page behind an open viewer hears no key.
  document.addEventListener("keydown", (event) => {
    if (!open()) return outside(event);
    event.stopPropagation();
    within(event);
  }, true);
  window.flenViewer = { settle };
})();
