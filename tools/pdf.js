// Makes a page that can be printed out of the built one: title, contents, text, nothing that only works on a screen.
// Returns the title of each chapter, name -> title.
function prepare(names, style) {
  const article = document.querySelector("article.bd-article");
  const built = document.querySelector(".slm-built")?.textContent ?? "";
  const title = document.querySelector(".logo__title")?.textContent ?? document.title;

  for (const box of article.querySelectorAll("details")) {
    box.open = true;
    const summary = box.querySelector("summary");
    if (summary?.textContent.includes("solution")) summary.textContent = "A solution";
    else if (box.classList.contains("hide")) summary.style.display = "none"; // it would offer to hide the code
  }
  const unused = ".lab-links, .headerlink, .slm-bar-of-filters, script, button.copybtn, .toctree-wrapper > .caption";
  for (const part of article.querySelectorAll(unused)) part.remove();
  for (const button of article.querySelectorAll(".slm-sort, .slm-open")) button.replaceWith(...button.childNodes);
  // Addresses within this folder mean nothing to the reader of the file.
  for (const link of article.querySelectorAll("a[href]")) {
    const address = link.getAttribute("href");
    if (!address.startsWith("#") && !/^https?:/.test(address)) link.removeAttribute("href");
  }

  // Sphinx puts all chapters into the first one, which the book begins with.
  for (const wrapper of article.querySelectorAll(".toctree-wrapper")) article.append(...wrapper.children);
  const uses = new Map();
  for (const part of article.querySelectorAll("[id]")) uses.set(part.id, (uses.get(part.id) ?? 0) + 1);
  const titles = {};
  for (const name of names) {
    const found = document.getElementById(`document-${name}`);
    if (!found && name !== names[0]) throw Error(`the page has no chapter ${name}, which _toc.yml names`);
    const anchor = found ?? document.createElement("span"); // Sphinx gives the first none
    const chapter = found?.nextElementSibling ?? article.querySelector("section");
    anchor.id = `document-${name}`;
    chapter.prepend(anchor);
    chapter.classList.add("chapter");
    titles[name] = chapter.querySelector("h1, h2, h3").textContent.trim();
    // Two chapters may use one id, for each was a page: in each the chapter's own links stay its own.
    const links = [...chapter.querySelectorAll("a[href^='#']")];
    for (const part of chapter.querySelectorAll("[id]")) {
      if (!(uses.get(part.id) > 1)) continue;
      for (const link of links) if (link.getAttribute("href") === `#${part.id}`) link.setAttribute("href", `#${name}--${part.id}`);
      part.id = `${name}--${part.id}`;
    }
  }

  document.documentElement.dataset.theme = "light";
  document.head.insertAdjacentHTML("beforeend", "<style></style>");
  document.head.lastElementChild.textContent = style;
  const front = document.createElement("header");
  front.className = "front";
  front.innerHTML = "<h1></h1><p></p>";
  front.children[0].textContent = title;
  front.children[1].textContent = built;
  const contents = document.createElement("section");
  contents.className = "contents";
  contents.innerHTML = "<h2>Contents</h2><nav></nav>";
  document.body.className = "bd-content printed";
  document.body.replaceChildren(front, contents, article);
  return titles;
}
