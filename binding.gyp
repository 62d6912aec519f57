{
  # CMakeLists.txt is the one build description. This file lets node-gyp, and so node-gyp-build's source fallback, call it.
  "targets": [
    {
      "target_name": "nvlm",
      "type": "none",
      "actions": [
        {
          "action_name": "cmake",
          "inputs": ["<!@(node scripts/build-native.mjs --inputs)"],
          "outputs": ["<(PRODUCT_DIR)/nvlm.node"],
          "action": ["node", "scripts/build-native.mjs", "--into", "<(PRODUCT_DIR)"]
        }
      ]
    }
  ]
}
