// Landmarks for the keyboard and for screen readers that unfold's templates do not have: a link
// that skips the menu, which is the first element that the Tab key reaches, and their names.
document.addEventListener("DOMContentLoaded", () => {
  const main = document.getElementById("main");
  if (main) main.setAttribute("role", "main");
  const link = document.createElement("a");
  link.className = "portal-skip";
  link.href = "#main";
  link.textContent = "Skip to main content";
  const landmark = document.createElement("nav");
  landmark.setAttribute("aria-label", "Skip");
  landmark.append(link);
  document.body.prepend(landmark);
  for (const [selector, name] of [["#nav-sidebar-inner", "Menu"], ["#tabs-items", "Section"]]) {
    document.querySelector(selector)?.setAttribute("aria-label", name);
  }
  // The buttons that show and hide the menu.
  for (const button of document.querySelectorAll("span[x-on\\:click*='sidebar']")) {
    button.setAttribute("role", "button");
    button.setAttribute("tabindex", "0");
    button.setAttribute("aria-label", "Menu");
    button.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      button.click();
    });
  }
  // Each scrolled part is a region with the same name otherwise.
  setTimeout(() => document.querySelectorAll(".simplebar-content-wrapper[role]").forEach((part) => {
    part.removeAttribute("role");
    part.removeAttribute("aria-label");
  }));
});
