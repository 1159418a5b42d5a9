// Review's desk: each key is meant for the picture that was on the screen when it was pressed. The page knows the
// order of the pictures ahead, so the next one shows at once; the keys follow to Python in order, one message at a time.
(() => {
  const VERDICTS = ["good", "correct", "reject"];
  const BURST_MS = 1500, RETRY_MS = 250, KEPT = "flen-keys";
  const desks = new Map(); // element -> desk

  const kept = () => { try { return JSON.parse(sessionStorage.getItem(KEPT)) || {}; } catch { return {}; } };
  const rows = (root, name) =>
    JSON.parse(root.querySelector(`[${name}]`)?.getAttribute(name) || "[]").map(([id, src, bench]) => ({ id, src, bench }));

  const make = (element, act) => {
    let order = [], back = []; // pictures ahead, the first one on the screen; verdicts that can be taken back
    let keys = [], flight = null, number = 0; // pressed; sent, and not answered yet
    const token = `${Date.now()}-${Math.random()}`; // this page's own
    let bench = ""; // the picture on the workbench, which is then shown in place of the stage
    let character = "", last = -Infinity, words = "", timer = 0, quiet = 0;

    const root = () => element.querySelector("[data-desk]");
    const stage = () => element.querySelector("[data-stage]");
    const keep = () => sessionStorage.setItem(KEPT, JSON.stringify({ flight, keys }));

    const say = (text) => {
      words = text;
      clearTimeout(quiet);
      if (text) quiet = setTimeout(() => { words = ""; show(); }, 6000);
    };

    const show = () => {
      const scene = stage(), now = order[0], said = element.querySelector("[data-said]");
      if (bench) root()?.setAttribute("data-bench", bench); else root()?.removeAttribute("data-bench");
      window.flenBench.fit();
      if (said && words) said.textContent = words;
      order.slice(1, 6).forEach((each) => { new Image().src = each.src; });
      if (!scene) return;
      scene.classList.toggle("over", !now);
      if (!now || scene.dataset.id === now.id) return;
      if (!now.src) return scene.classList.add("over");
      const main = scene.querySelector("[data-main]");
      delete main.dataset.own;
      main.src = now.src;
      main.alt = "the next picture";
      scene.dataset.id = now.id;
      scene.classList.add("ahead"); // what stands beside it follows from Python
      scene.querySelectorAll(".fl-button.on").forEach((node) => node.classList.remove("on"));
    };

    const send = () => {
      clearTimeout(timer);
      if (!flight && keys.length) { flight = { token, n: ++number, keys }; keys = []; }
      keep();
      if (!flight) return;
      act({ act: "keys", token: flight.token, n: flight.n, keys: flight.keys, shown: (!bench && order[0]?.id) || "" });
      timer = setTimeout(send, RETRY_MS); // the framework drops what is sent while it is busy; Python counts a message once
    };

    const remove = (id) => { order = order.filter((each) => each.id !== id); };

    const press = (node) => {
      const name = node.dataset.act, now = order[0];
      let id = node.dataset.id || "";
      if (VERDICTS.includes(name) || name === "skip" || name === "reason") {
        if (!now) return idle();
        id = now.id;
      }
      if (name !== "reason") bench = name === "mend" ? id : name === "correct" && now.bench ? id : "";
      if (VERDICTS.includes(name)) { back.push(order.shift()); remove(id); }
      if (name === "skip") { remove(id); order.push(now); }
      if (name === "reason") node.classList.toggle("on");
      if (name === "undo") {
        const before = back.pop();
        if (!before) { say("There is no verdict of yours to take back."); return show(); }
        remove(id = before.id);
        order.unshift(before);
      }
      if (name === "open") { remove(id); order.unshift({ id, src: (back.find((each) => each.id === id) || node.querySelector("img")).src }); }
      say("");
      last = performance.now();
      keys.push({ act: name, id, character, ...(name === "reason" && { reason: node.dataset.reason }) });
      show();
      if (flight) keep(); else send();
    };

    // What Python has drawn; while keys are on their way, or come fast, the order that was shown goes on.
    const settle = () => {
      const drawn = root();
      if (!drawn) return;
      if (character !== drawn.dataset.of) {
        if (!character) {
          const old = kept();
          flight = old.flight || null;
          keys = old.keys || [];
          if (flight || keys.length) setTimeout(send, 0);
        }
        character = drawn.dataset.of;
        order = back = [];
        last = -Infinity;
      }
      const answered = flight && drawn.dataset.token === flight.token && Number(drawn.dataset.n) >= flight.n;
      if (answered) flight = null;
      const fresh = rows(drawn, "data-ahead");
      const open = [...(flight ? flight.keys : []), ...keys];
      const busy = open.length > 0;
      if (busy || performance.now() - last < BURST_MS) {
        const judged = new Set(open.filter((each) => VERDICTS.includes(each.act)).map((each) => each.id));
        const known = new Set(fresh.map((each) => each.id)), mine = new Set(order.map((each) => each.id));
        const called = new Set(open.filter((each) => each.act === "undo" || each.act === "open").map((each) => each.id));
        order = order.filter((each) => known.has(each.id) || called.has(each.id))
          .concat(fresh.filter((each) => !mine.has(each.id) && !judged.has(each.id)));
      } else order = fresh;
      if (!busy) [back, bench] = [rows(drawn, "data-back"), drawn.dataset.bench || ""];
      show();
      if (answered) setTimeout(send, 0);
    };

    const idle = () => {
      const why = bench ? "the workbench is open. Esc goes on with the next picture." : "there is no picture on the screen to judge.";
      say(`That key was not used: ${why}`);
      show();
    };

    return { press, settle, idle };
  };

  const desk = (element, act) => {
    if (!element.querySelector("[data-desk]")) return null;
    if (!desks.has(element)) desks.set(element, make(element, act));
    return desks.get(element);
  };
  const early = []; // a page just reloaded shows its stage a moment before anybody listens to it
  desk.settle = (element, act) => {
    const here = desk(element, act);
    if (!here) return;
    here.settle();
    early.splice(0).forEach((node) => element.contains(node) && here.press(node));
  };
  desk.key = (node) => {
    const place = [...desks.keys()].find((element) => element.contains(node));
    if (place) desks.get(place).press(node);
    else if (node.closest("[data-desk]")) early.push(node);
    return Boolean(place || node.closest("[data-desk]"));
  };
  // A key of the desk where nothing stands on it any more.
  desk.idle = (key) => {
    const place = "acx ".includes(key) && [...desks.keys()].find((element) => element.offsetParent);
    if (place) desks.get(place).idle();
    return Boolean(place);
  };
  window.flenDesk = desk;
})();
