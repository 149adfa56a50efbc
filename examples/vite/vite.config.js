import { defineConfig } from "vite";

export default defineConfig({
  base: "./", // the build works below any path
});
