// A page opened from disk may not read other files, so search shows titles there, without the lines around a match.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

// What scrolls sideways can be scrolled by keyboard too. (The theme does so for code and for outputs.)
function letScroll() {
  for (const box of document.querySelectorAll(".bd-article :is(table, .slm-scroll, mjx-container[display])")) {
    if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}
// Watched is the article: when the window's width changes, the theme's columns get theirs a little later.
addEventListener("load", () => Promise.resolve(window.MathJax?.startup?.promise).then(() => {
  const article = document.querySelector(".bd-article");
  if (article) new ResizeObserver(letScroll).observe(article);
}));
