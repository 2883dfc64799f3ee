"use strict";
// Runs before the page is drawn, so that a remembered theme does not flash.
(() => {
  const root = document.documentElement;
  const key = "stylebench-theme";
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");

  const remembered = () => {
    try {
      return localStorage.getItem(key);
    } catch {
      return null; // pages opened from a folder may have no storage
    }
  };
  const isDark = () => (root.dataset.theme ?? (prefersDark.matches ? "dark" : "light")) === "dark";

  const start = remembered();
  if (start === "dark" || start === "light") root.dataset.theme = start;

  addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const show = () => button.setAttribute("aria-pressed", String(isDark()));
    button.hidden = false;
    show();
    prefersDark.addEventListener("change", show);
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      show();
      try {
        localStorage.setItem(key, root.dataset.theme);
      } catch {
        // then the choice lasts for this page
      }
    });
  });
})();
