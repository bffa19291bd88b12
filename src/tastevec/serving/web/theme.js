// The theme: the system's until the user chooses one, which is stored in this browser.
(() => {
  const KEY = "tastevec.theme";
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");

  /** Storage may be blocked (private windows, cookie settings); the page works without it. */
  const stored = () => {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null;
    }
  };
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);

  const choice = stored();
  if (choice === "light" || choice === "dark") root.dataset.theme = choice;

  addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme-toggle");
    const show = () => {
      button.textContent = isDark() ? "Light theme" : "Dark theme";
      root.dispatchEvent(new CustomEvent("themechange"));
    };
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      try {
        localStorage.setItem(KEY, root.dataset.theme);
      } catch {
        // The choice lasts until the page is closed.
      }
      show();
    });
    system.addEventListener("change", show);
    show();
  });
})();
