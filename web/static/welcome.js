// Older links with a token lead to /; the page that they mean is at /demo.
function passOn() {
  if (/^#(.*&)?token=/.test(location.hash)) location.replace("demo" + location.hash);
}

passOn();
addEventListener("hashchange", passOn);
