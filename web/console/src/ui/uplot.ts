/** The drawing of charts, apart from the rest: only the overview needs it. */
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

export default uPlot;
