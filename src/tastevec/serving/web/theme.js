// The theme: the system's until the person chooses, then her choice, kept in this browser.
(() => {
  const KEY = "tastevec.theme";
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");

  /** Storage may be closed (private windows, blocked cookies); the page then lives without a memory. */
  const kept = () => {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null;
    }
  };
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);

  const choice = kept();
  if (choice === "light" || choice === "dark") root.dataset.theme = choice;

  addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme-toggle");
    const told = () => {
      button.textContent = isDark() ? "Light theme" : "Dark theme";
      root.dispatchEvent(new CustomEvent("themechange"));
    };
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      try {
        localStorage.setItem(KEY, root.dataset.theme);
      } catch {
        // Nothing to do: the choice holds until the page is closed.
      }
      told();
    });
    system.addEventListener("change", told);
    told();
  });
})();
