// Links with a token were made for the page that is now at /demo.
function passOn() {
  if (/^#(.*&)?token=/.test(location.hash)) location.replace("demo" + location.hash);
}

passOn();
addEventListener("hashchange", passOn);
