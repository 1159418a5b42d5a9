// Runs before Gradio's scripts. Svelte reads a plain array through a proxy for each value, and Gradio goes through its list
// of handlers twice for every widget while the page opens. The list never changes: an array of another class has no proxy.
(() => {
  class Fixed extends Array {}
  if (Array.isArray(window.gradio_config?.dependencies)) Object.setPrototypeOf(window.gradio_config.dependencies, Fixed.prototype);
})();
