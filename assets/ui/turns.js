// What a person does builds on what was done before. An act waits for the answer to the last one of its tab, so that it
// sends the state which that answer has set: a click on a button right after a field was changed keeps the change.
(() => {
  const START_MS = 2000; // an act whose request has not left by then sends none
  const HIDDEN_MS = 500; // a page that is not in sight draws no frames
  const ANSWER_MS = 20000; // nobody waits longer for an answer
  const scopes = new Map(); // tab, or the document -> what is under way in it, and what waits
  const leaving = []; // acts whose requests have not left yet
  let through = null; // the button that is clicked again after its wait

  const scopeOf = (node) => {
    const place = node.closest('[role="tabpanel"]') || document;
    if (!scopes.has(place)) scopes.set(place, { busy: false, waiting: [] });
    return scopes.get(place);
  };
  const start = (scope, act) => {
    scope.busy = true;
    const end = () => {
      if (act.over) return;
      act.over = true;
      scope.busy = false;
      if (scope.waiting.length) start(scope, scope.waiting.shift());
    };
    act.end = end;
    act.timer = setTimeout(() => { leaving.splice(leaving.indexOf(act), 1); end(); }, START_MS);
    leaving.push(act);
    act.go();
  };
  const take = (node, act) => {
    const scope = scopeOf(node);
    if (scope.busy) scope.waiting.push(act); else start(scope, act);
  };

  // Calls back when the framework has put an answer into the widgets: it does so before the second frame.
  const settled = (then) => {
    requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(then)));
    setTimeout(then, HIDDEN_MS);
  };

  const ask = window.fetch;
  window.fetch = async (...given) => {
    const body = leaving.length && String(given[0]).endsWith("/run/predict") ? String(given[1]?.body) : "";
    const at = leaving.findIndex((act) => body && act.bySend === body.includes('"event_data":{'));
    if (at < 0) return ask(...given);
    const [act] = leaving.splice(at, 1);
    clearTimeout(act.timer);
    setTimeout(act.end, ANSWER_MS);
    try {
      const answer = await ask(...given);
      answer.clone().text().finally(() => settled(act.end));
      return answer;
    } catch (error) {
      act.end();
      throw error;
    }
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("button.lg, button.md, button.sm");
    if (!button || button === through || button.disabled || !button.closest('[role="tabpanel"]')) return;
    const scope = scopeOf(button);
    if (!scope.busy) return start(scope, { bySend: false, go: () => {} });
    event.stopImmediatePropagation();
    event.preventDefault();
    scope.waiting.push({ bySend: false, go: () => { through = button; button.click(); through = null; } });
  }, true);

  // Sends an act from a node, when its turn has come; `send` sends it.
  window.flenTurns = (node, send) => take(node, { bySend: true, go: send });
})();
