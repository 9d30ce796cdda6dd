// Add a link that skips the side bar. It is the first element that the Tab key reaches.
document.addEventListener("DOMContentLoaded", () => {
  const link = document.createElement("a");
  link.className = "portal-skip";
  link.href = "#main";
  link.textContent = "Skip to main content";
  document.body.prepend(link);
});
