() => {
  if (window.sdloraMix) return;
  window.sdloraMix = true; // from here on the page is kept
  const press = (id) => {
    const button = document.querySelector(id);
    if (!button || button.offsetParent === null || button.disabled) return false;
    button.click();
    return true;
  };
  let typed = false;
  const inPrompt = (event) => event.target.closest && event.target.closest("#prompt");
  document.addEventListener("focusin", (event) => { if (inPrompt(event)) typed = false; });
  document.addEventListener("input", (event) => { if (inPrompt(event)) typed = true; });
  document.addEventListener("keydown", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    if (event.key === "Enter" && press("#generate")) event.preventDefault();
    // what was taken out of the prompt comes back, unless there is typing to undo first
    if (event.key === "z" && inPrompt(event) && !typed && press("#undo")) event.preventDefault();
  }, true);
}
