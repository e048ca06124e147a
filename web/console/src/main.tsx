import { render } from "preact";
import { App } from "./app.js";
import { watch } from "./health.js";
import { watchKeys } from "./keys.js";
import { followLinks } from "./router.js";
import { loginByAddress, restore } from "./session.js";
import "./styles/base.css";
import "./styles/shell.css";
import "./styles/screens.css";

restore();
loginByAddress();
addEventListener("hashchange", loginByAddress);
followLinks();
watchKeys();
watch();
render(<App />, document.getElementById("app")!);
