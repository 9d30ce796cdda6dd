// The first thing that the Tab key reaches: past the side bar, to the page itself.
document.addEventListener("DOMContentLoaded", () => {
  const link = document.createElement("a");
  link.className = "portal-skip";
  link.href = "#main";
  link.textContent = "Skip to the page";
  document.body.prepend(link);
});
