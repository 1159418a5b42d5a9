// A page that the server keeps no longer (it was open for long, or its review link has ended) loads itself again.
(() => {
  const ask = window.fetch;
  window.fetch = async (...given) => {
    const answer = await ask(...given);
    if (answer.status === 410) location.reload();
    return answer;
  };
})();
