// A refusal that names a parameter, as scripts call it: the page says the label of its field instead, and marks the field.
(() => {
  const NAME = /\b[a-z]+(?:_[a-z]+)+\b|^[a-z]+(?=(?:\[\S+\])* cannot be )/g; // with a low line anywhere, or what cannot be
  const INPUT = "input:not([type=range]), textarea";
  const shown = (node) => node.getClientRects().length > 0;
  const isOpen = (node) => !node.closest('[role="tabpanel"]') || shown(node.closest('[role="tabpanel"]')); // also in a fold
  const marked = new Map(); // input -> the value that was refused

  // The widget of a parameter: its element's id is the tab's name, a dash, and the parameter's name with dashes.
  const find = (name) => {
    const ids = new RegExp(`^[a-z]+-${name.replaceAll("_", "-")}$`);
    const found = (window.gradio_config?.components || []).filter(({ props }) => ids.test(props.elem_id) && props.label)
      .map(({ props }) => ({ label: props.label.split(" (")[0], node: document.getElementById(props.elem_id) }))
      .filter(({ node }) => node && isOpen(node));
    return found.find(({ node }) => shown(node)) || found[0];
  };
  const mark = (input) => {
    if (!input) return;
    input.setAttribute("aria-invalid", "true");
    marked.set(input, input.value);
  };
  const settle = () => marked.forEach((value, input) => {
    if (input.isConnected && input.value === value) return;
    input.removeAttribute("aria-invalid");
    marked.delete(input);
  });
  const named = (words) => words.replace(NAME, (name) => {
    const field = find(name);
    mark(field?.node.querySelector(INPUT));
    return field ? `“${field.label}”` : name;
  });

  document.addEventListener("input", settle, true);
  document.addEventListener("change", settle, true);
  window.flenField = {
    named,
    // The refusals that are drawn inside a block.
    settle: (element) => {
      settle();
      const said = [...element.querySelectorAll(".fl-trouble > *")].flatMap((node) => [...node.childNodes]);
      said.filter((node) => node.nodeType === Node.TEXT_NODE).forEach((node) => {
        const words = named(node.data);
        if (words !== node.data) node.data = words;
      });
    },
  };
})();
