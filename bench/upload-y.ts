import { benchUpload } from "./upload-x.ts";
await benchUpload(1, console.error);
