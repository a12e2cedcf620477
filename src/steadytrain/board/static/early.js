// Before anything is drawn: the theme, so that nothing flashes; and a language tag that uPlot's
// Intl call would stumble over (en-US@posix).
(() => {
  const kept = (name) => { try { return localStorage.getItem(name); } catch { return null; } };
  const theme = kept("steadytrain.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  try {
    new Intl.NumberFormat(navigator.language);
  } catch {
    Object.defineProperty(navigator, "language", { value: "en-US" });
  }
})();
