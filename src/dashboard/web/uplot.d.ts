/** The page server gives uPlot out as /uplot.js. */
export { default } from "uplot";
