// Generate: a picture that is dropped anywhere on the fields gives its settings back; Ctrl+Enter in the prompt draws.
(() => {
  const side = (node) => node.closest?.("#generate-side");
  const holds = (event) => [...(event.dataTransfer?.types || [])].includes("Files");
  const mark = (on) => document.querySelector("#generate-side")?.classList.toggle("dropping", on);

  document.addEventListener("dragover", (event) => {
    const here = Boolean(side(event.target)) && holds(event);
    mark(here);
    if (here) event.preventDefault();
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget || mark(false));
  document.addEventListener("drop", (event) => {
    mark(false);
    if (!side(event.target) || !holds(event) || !event.dataTransfer.files.length) return;
    const input = document.querySelector("#generate-drop input[type=file]");
    if (!input) return;
    event.preventDefault();
    event.stopPropagation();
    const one = new DataTransfer();
    one.items.add(event.dataTransfer.files[0]);
    input.files = one.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  }, true);
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    if (!event.target.closest?.("#generate-prompt, #generate-negative")) return;
    event.preventDefault();
    document.querySelector("#generate-go")?.click();
  });
})();
