// Runs before the first paint: the theme that was chosen, and the base of all
// relative URLs, which must stay what it was when the page was loaded.
(function () {
  var base = document.querySelector("base");
  base.href = base.href;
  try {
    var theme = localStorage.getItem("taskfeed.theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch (e) {
    // storage is closed to this page: the system's theme it is
  }
})();
