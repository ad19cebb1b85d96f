// A page opened from disk may not read other files, so search shows titles there, without the lines around a match.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
