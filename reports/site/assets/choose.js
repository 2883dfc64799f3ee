"use strict";
// Of several sections one is shown, chosen in a select. Without this script all are.
(() => {
  document.querySelectorAll("[data-choice]").forEach((group) => {
    const sections = [...group.querySelectorAll(":scope > [data-option]")];
    if (sections.length < 2) return;
    const label = document.createElement("label");
    const select = document.createElement("select");
    sections.forEach((section, index) => select.add(new Option(section.dataset.option, index)));
    label.className = "tools";
    label.append(`${group.dataset.choice} `, select);
    group.prepend(label);
    const show = () =>
      sections.forEach((section, index) => {
        section.hidden = index !== select.selectedIndex;
      });
    select.addEventListener("change", show);
    show();
  });
})();
