/** Run by cpu-builds.ts as a process: loads one CPU build, exits 0 where this processor runs it. */
import { nativeApi } from "./native-library.ts";

nativeApi(process.argv[2] ?? "");
